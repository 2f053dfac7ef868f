//! What a run holds on the host: marked with the run's name, and locked for as long as it lives.
//!
//! Cgroups and, without isolation, directories outlive a runner that is killed. A run keeps all of them below directories called
//! `conformance-run-PID.NUMBER`, one in each place, and holds a lock on each (flock(2)). The kernel lets go of a lock when its owner dies, however
//! it dies, and shows it to everybody who sees the directory, in other containers and PID namespaces too. So whoever can take the lock
//! knows that the run is dead, and neither a pid nor a clock has to be believed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    hash::{BuildHasher as _, RandomState},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::unistd::getuid;

use crate::lab::residue;

/// How the names of all directories of all runs begin.
const PREFIX: &str = "conformance-run-";

/// A name that no other world has: this run's name, a hyphen, and a number.
pub fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", name(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// This process's run.
fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        // The pid is for people. A hasher's keys are random, and a name that is taken all the same is an error of `Claim::make`.
        let random = RandomState::new().hash_one(()) & 0xffff_ffff;
        format!("{}.{random:08x}", std::process::id())
    })
}

/// Where everything of the world `unique` lies, below any directory that its run may use.
pub fn place_of(unique: &str) -> PathBuf {
    let (run, number) = unique.rsplit_once('-').unwrap_or((unique, "0"));
    Path::new(&format!("{PREFIX}{run}")).join(number)
}

/// The run whose directory has this file name.
pub fn run_of(file_name: &str) -> Option<&str> {
    file_name.strip_prefix(PREFIX)
}

/// What this run holds. Dropping it removes what is empty; all else is left to whoever sweeps.
#[derive(Debug)]
pub struct Tenancy {
    claims: Mutex<Vec<Claim>>,
    cgroups: Result<(), String>,
}

impl Tenancy {
    /// Takes a place in every hierarchy of cgroups, where this user may.
    pub fn begin() -> Self {
        let (claims, cgroups) = match claim_cgroups() {
            Ok(claims) => (claims, Ok(())),
            Err(reason) => (Vec::new(), Err(reason)),
        };
        Self { claims: Mutex::new(claims), cgroups }
    }

    /// Whether worlds may make cgroups, or why not.
    pub fn cgroups(&self) -> Result<(), String> {
        self.cgroups.clone()
    }

    /// Takes a place in `directory` as well, once.
    ///
    /// # Errors
    ///
    /// When it cannot be made or locked.
    pub fn settle_in(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(format!("{PREFIX}{}", name()));
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.iter().all(|claim| claim.path != path) {
            claims.push(Claim::make(path)?);
        }
        Ok(())
    }
}

fn claim_cgroups() -> Result<Vec<Claim>, String> {
    if !getuid().is_root() {
        return Err("an ordinary user may make none".to_owned());
    }
    let mut claims = Vec::new();
    let mut seen = BTreeSet::new();
    for hierarchy in residue::hierarchies().map_err(|e| format!("{e:#}"))? {
        let failed = |e: io::Error| format!("{}: {e}", hierarchy.display());
        let metadata = fs::metadata(&hierarchy).map_err(failed)?;
        // A hierarchy may be mounted twice.
        if !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        match Claim::make(hierarchy.join(format!("{PREFIX}{}", name()))) {
            Ok(claim) => claims.push(claim),
            // Worlds do not see the empty v2 hierarchy beside v1 ones.
            Err(_) if hierarchy.ends_with("unified") => {}
            Err(e) => return Err(failed(e)),
        }
    }
    if claims.is_empty() {
        return Err("no hierarchy is mounted".to_owned());
    }
    Ok(claims)
}

/// A directory, and the lock that says that its run is alive.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    lock: File,
}

impl Claim {
    fn make(path: PathBuf) -> io::Result<Self> {
        loop {
            fs::create_dir(&path)?;
            let lock = match File::open(&path) {
                // Somebody who sweeps was quicker: a directory without a lock looks like that of a dead run.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            lock.lock()?;
            if is_at(&lock, &path)? {
                return Ok(Self { path, lock });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What cannot be removed has something in it, and is the next run's to sweep once the lock is gone, at the latest with its descriptor.
        _ = fs::remove_dir(&self.path);
        _ = self.lock.unlock();
    }
}

/// Takes the lock of a directory, if its run is dead; `None` when it lives or the directory is gone.
///
/// # Errors
///
/// When the directory cannot be opened.
pub fn lock_of_dead(path: &Path) -> io::Result<Option<File>> {
    let lock = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(is_at(&lock, path)?.then_some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Whether the open directory is still the one at `path`.
fn is_at(directory: &File, path: &Path) -> io::Result<bool> {
    let open = directory.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn names_are_unique_and_say_whose_they_are() {
        let (one, other) = (unique(), unique());
        assert_ne!(one, other);
        let place = place_of(&one);
        let (run, number) = one.rsplit_once('-').unwrap();
        assert_eq!(place, Path::new(&format!("conformance-run-{run}/{number}")));
        assert_eq!(run_of(&format!("conformance-run-{run}")), Some(run));
        assert_eq!(run_of("conformance-1-2"), None);
    }

    #[test]
    fn a_claim_is_seen_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim");
        let claim = Claim::make(path.clone()).unwrap();
        assert!(lock_of_dead(&path).unwrap().is_none());
        drop(claim);
        assert!(!path.exists());
        assert!(lock_of_dead(&path).unwrap().is_none());
    }

    #[test]
    fn a_claim_without_an_owner_can_be_taken_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim");
        fs::create_dir(&path).unwrap();
        let lock = lock_of_dead(&path).unwrap();
        assert!(lock.is_some());
        assert!(lock_of_dead(&path).unwrap().is_none());
    }

    #[test]
    fn a_claim_is_never_made_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim");
        let _claim = Claim::make(path.clone()).unwrap();
        assert_eq!(Claim::make(path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_claim_that_is_swept_before_its_lock_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim");
        let over = AtomicBool::new(false);
        // Sweeps as fast as it can while claims are made and dropped.
        let sweep = || {
            while !over.load(Ordering::Relaxed) {
                if let Ok(Some(_lock)) = lock_of_dead(&path) {
                    _ = fs::remove_dir(&path);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(sweep);
            for _ in 0..2000 {
                let claim = Claim::make(path.clone()).unwrap();
                assert!(is_at(&claim.lock, &path).unwrap());
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
