//! Who is the shim: told from its children, from the runtime and from the container by what each process has executed.
//!
//! A process is the shim from the moment at which it executes the shim's file until it executes another. A child between fork and its
//! own execution has the shim's file too, and is nobody. So a daemon that is made by fork alone, without executing anything, is not seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use super::caller::{Caller, FileId, process_of};
use super::calls::Call;

/// What a process of the shim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Executed by whoever plays containerd, for `start` or `delete`.
    Helper,
    /// Executed by the shim itself, to serve.
    Daemon,
}

/// All that is known of the processes under the filter.
#[derive(Debug)]
pub(super) struct Family {
    shim: FileId,
    /// Processes that were executed through the launcher.
    launched: BTreeSet<i32>,
    roles: BTreeMap<i32, Role>,
    /// The processes of threads. A number is not used again while a world lasts: the kernel counts on through all of them first.
    processes: HashMap<i32, i32>,
}

impl Family {
    pub(super) fn new(shim: FileId) -> Self {
        Self { shim, launched: BTreeSet::new(), roles: BTreeMap::new(), processes: HashMap::new() }
    }

    /// The process `tgid` is about to execute the shim for somebody else.
    pub(super) fn launched(&mut self, tgid: i32) {
        self.launched.insert(tgid);
    }

    /// The process of this thread.
    pub(super) fn caller(&mut self, tid: i32) -> io::Result<Caller> {
        let tgid = match self.processes.get(&tid) {
            Some(&tgid) => tgid,
            None => *self.processes.entry(tid).or_insert(process_of(tid)?),
        };
        Ok(Caller { tid, tgid })
    }

    /// The role in which `caller` makes this call; an execution changes it for what comes after.
    pub(super) fn role(&mut self, caller: Caller, call: &Call, args: &[u64; 6]) -> Option<Role> {
        match caller.executes(call, args, self.shim) {
            None => self.roles.get(&caller.tgid).copied(),
            Some(executes_shim) => {
                self.executed(caller.tgid, executes_shim);
                None
            }
        }
    }

    fn executed(&mut self, tgid: i32, shim: bool) {
        if !shim {
            self.roles.remove(&tgid);
            return;
        }
        let role = if self.launched.contains(&tgid) { Role::Helper } else { Role::Daemon };
        self.roles.insert(tgid, role);
    }

    /// Every process that is the shim, or was until its end.
    pub(super) fn shims(&self) -> Vec<(i32, Role)> {
        self.roles.iter().map(|(&tgid, &role)| (tgid, role)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_what_it_executed_last() {
        let mut family = Family::new(FileId::of(std::path::Path::new("/proc/self/exe")).unwrap());
        family.launched(7);
        family.executed(7, true);
        family.executed(9, true);
        assert_eq!(family.shims(), [(7, Role::Helper), (9, Role::Daemon)]);
        family.executed(9, false);
        family.executed(11, false);
        assert_eq!(family.shims(), [(7, Role::Helper)]);
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let mut family = Family::new(FileId::of(std::path::Path::new("/proc/self/exe")).unwrap());
        let own = nix::unistd::getpid().as_raw();
        let tid = nix::unistd::gettid().as_raw();
        assert_eq!(family.caller(tid).unwrap(), Caller { tid, tgid: own });
    }
}
