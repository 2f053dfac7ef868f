//! Bundles on disk, as containerd lays them out and finds them again (containerd: `core/runtime/v2/bundle.go`, `shim_load.go`).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs,
    future::Future,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::PathBuf,
    pin::Pin,
    rc::Rc,
};

use anyhow::{Context as _, Result};
use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::json;
use tokio::{
    io::Interest,
    net::unix::pipe,
    sync::Notify,
    task::{AbortHandle, spawn_local},
};

use crate::wire::{Bootstrap, Form, Setup};

/// Where the bundle of `id` lies.
pub(super) fn path(setup: &Setup, id: &str) -> PathBuf {
    task_directory(&setup.state, &setup.namespace).join(id)
}

fn task_directory(base: &std::path::Path, namespace: &str) -> PathBuf {
    base.join("io.containerd.runtime.v2.task").join(namespace)
}

/// Lays out a bundle: what contract BOOT-37 lists, and nothing else.
pub(super) fn lay_out(setup: &Setup, id: &str, config: Option<&str>) -> Result<()> {
    let bundle = path(setup, id);
    let work = task_directory(&setup.root, &setup.namespace).join(id);
    for directory in [bundle.parent(), work.parent()].into_iter().flatten() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let private = |path: &PathBuf, mode| {
        fs::DirBuilder::new().mode(mode).create(path).with_context(|| format!("create {}", path.display()))
    };
    private(&bundle, 0o700)?;
    private(&work, 0o711)?;
    private(&bundle.join("rootfs"), 0o711)?;
    symlink(&work, bundle.join("work")).context("link the work directory")?;
    if let Some(config) = config {
        fs::write(bundle.join("config.json"), config).context("write config.json")?;
    }
    mkfifo(&bundle.join("log"), Mode::from_bits_truncate(0o700)).context("make the log FIFO")
}

/// Writes what containerd writes as soon as `start` has succeeded, whatever it has answered (contract BOOT-38).
pub(super) fn remember_binary(setup: &Setup, id: &str) -> Result<()> {
    let file = path(setup, id).join("shim-binary-path");
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    opened
        .and_then(|mut file| file.write_all(setup.shim.as_os_str().as_encoded_bytes()))
        .context("write shim-binary-path")
}

/// Writes what this containerd writes when it is connected to the shim (contract BOOT-38).
pub(super) fn remember(setup: &Setup, id: &str, bootstrap: &Bootstrap) -> Result<()> {
    if !setup.profile.bootstrap_json {
        return Ok(());
    }
    write_bootstrap(&path(setup, id), bootstrap)
}

/// Writes what containerd writes for a container that is to live in the sandbox of a shim (containerd:
/// `core/runtime/v2/shim_manager.go`, `Start`; contract SBX-14), and tells where that shim is. No `start` is executed, and nothing says
/// which shim binary it is.
pub(super) fn join(setup: &Setup, id: &str, sandbox: &str) -> Result<Bootstrap> {
    let bootstrap = read_bootstrap(setup, sandbox)?;
    let bundle = path(setup, id);
    fs::write(bundle.join("sandbox"), sandbox).context("write the file sandbox")?;
    if setup.profile.bootstrap_json {
        write_bootstrap(&bundle, &bootstrap)?;
    } else {
        fs::write(bundle.join("address"), &bootstrap.address).context("write address")?;
    }
    Ok(bootstrap)
}

fn write_bootstrap(bundle: &std::path::Path, bootstrap: &Bootstrap) -> Result<()> {
    let Bootstrap { form: _, version, address, protocol } = bootstrap;
    let text = json!({ "version": version, "address": address, "protocol": protocol }).to_string();
    fs::write(bundle.join("bootstrap.json"), text).context("write bootstrap.json")
}

/// Reads what this containerd would use to find the shim again (contract LIFE-15).
pub(super) fn read_bootstrap(setup: &Setup, id: &str) -> Result<Bootstrap> {
    let bundle = path(setup, id);
    if setup.profile.bootstrap_json {
        match fs::read(bundle.join("bootstrap.json")) {
            Ok(text) => return decode(&text).context("decode bootstrap.json"),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).context("read bootstrap.json"),
        }
    }
    let file = bundle.join("address");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    // 1.7 reads the file as it reads the answer of `start`; what is no JSON is the address, untrimmed.
    match decode(text.as_bytes()) {
        Ok(bootstrap) if setup.profile.json.is_some() && !setup.profile.bootstrap_json => Ok(bootstrap),
        Ok(_) | Err(_) => Ok(Bootstrap { form: Form::Bare, version: 2, address: text, protocol: "ttrpc".to_owned() }),
    }
}

fn decode(text: &[u8]) -> serde_json::Result<Bootstrap> {
    serde_json::from_slice(text).map(|Remembered { version, address, protocol }| Bootstrap {
        form: Form::Json,
        version,
        address,
        protocol,
    })
}

/// The content of bootstrap.json.
#[derive(serde::Deserialize)]
struct Remembered {
    version: u32,
    address: String,
    protocol: String,
}

/// The ids of all bundles that a former life left.
pub(super) fn found(setup: &Setup) -> Result<Vec<String>> {
    let directory = task_directory(&setup.state, &setup.namespace);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("list {}", directory.display())),
    };
    let mut ids = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("list {}", directory.display()))?;
    ids.retain(|id| !id.starts_with('.'));
    ids.sort();
    Ok(ids)
}

/// Removes a bundle as containerd does (containerd: `core/runtime/v2/bundle.go`, `atomicDelete`): renamed first, so that a reload never
/// finds half of one. `rootfs` must be empty by now, so that no image is ever deleted through a forgotten mount.
pub(super) fn remove(setup: &Setup, id: &str) -> Result<()> {
    let bundle = path(setup, id);
    match fs::remove_dir(bundle.join("rootfs")) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).context("remove rootfs"),
        Ok(()) | Err(_) => {}
    }
    for directory in [bundle, task_directory(&setup.root, &setup.namespace).join(id)] {
        let hidden = directory.with_file_name(format!(".{id}"));
        fs::rename(&directory, &hidden).with_context(|| format!("rename {}", directory.display()))?;
        fs::remove_dir_all(&hidden).with_context(|| format!("remove {}", hidden.display()))?;
    }
    Ok(())
}

/// The readers of the log FIFOs, by container.
#[derive(Default)]
pub(super) struct Logs {
    readers: RefCell<HashMap<String, AbortHandle>>,
    draining: Rc<Draining>,
}

struct Draining {
    on: Cell<bool>,
    changed: Notify,
}

impl Default for Draining {
    fn default() -> Self {
        Self { on: Cell::new(true), changed: Notify::new() }
    }
}

impl Logs {
    /// Opens the FIFO of `id` as containerd does, for reading and writing so that it never ends, and drains it into `sink`.
    pub(super) fn watch(
        &self,
        setup: &Setup,
        id: &str,
        sink: impl Fn(String) -> Pin<Box<dyn Future<Output = ()>>> + 'static,
    ) -> Result<()> {
        let fifo = path(setup, id).join("log");
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .with_context(|| format!("open {}", fifo.display()))?;
        let reader = pipe::Receiver::from_file_unchecked(file).context("watch the log FIFO")?;
        let draining = self.draining.clone();
        let task = spawn_local(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(ready) = reader.ready(Interest::READABLE).await {
                while !draining.on.get() {
                    draining.changed.notified().await;
                }
                if ready.is_readable()
                    && let Ok(length) = reader.try_read(&mut buffer)
                {
                    sink(String::from_utf8_lossy(&buffer[..length]).into_owned()).await;
                }
            }
        });
        let former = self.readers.borrow_mut().insert(id.to_owned(), task.abort_handle());
        if let Some(former) = former {
            former.abort();
        }
        Ok(())
    }

    /// Stops reading the FIFO of `id`.
    pub(super) fn forget(&self, id: &str) {
        if let Some(reader) = self.readers.borrow_mut().remove(id) {
            reader.abort();
        }
    }

    /// Whether FIFOs are drained from now on.
    pub(super) fn drain(&self, on: bool) {
        self.draining.on.set(on);
        self.draining.changed.notify_waiters();
    }
}
