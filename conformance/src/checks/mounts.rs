//! The root file system that Create mounts.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    check::{Body, Check, Stop},
    contract::{security, task},
    history::{Answer, Method},
    lab::{Container, Lab, Order, message::RootMount, program, world::Isolation},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "task/mounts-in-order",
        clause: &task::ROOTFS,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait), Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(in_order(lab))),
    },
    Check {
        id: "task/without-mounts",
        clause: &task::ROOTFS,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(without_mounts(lab))),
    },
    Check {
        id: "task/no-such-mount",
        clause: &task::FAILED_CREATE,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(no_such_mount(lab))),
    },
    Check {
        id: "security/mount-escape",
        clause: &security::MOUNT_ESCAPE,
        needs: &[],
        notices: &[Lie::LeftMount, Lie::Unanswered(Method::Create)],
        body: Body::Example(|lab| Box::pin(escape(lab))),
    },
];

fn directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))
}

/// Two layers over one another: the program is in the upper one, which is listed last.
async fn in_order(lab: &Lab) -> Result<(), Stop> {
    let empty = lab.places().base.join("empty");
    directory(&empty)?;
    let task = lab.serve(Order::new(program::exits_with(6))).await?;
    let mounts = [&empty, &lab.places().rootfs].map(|source| RootMount::bind(&source.display().to_string()));
    lab.call(task.create_request_mounted(&mounts)?).await?.done("Create with two mounts")?;
    task.start().await?;
    task.wait().await?.reports(6)?;
    task.delete().await?;
    unmounted(&task)
}

fn unmounted(task: &Container<'_>) -> Result<(), Stop> {
    let mounted = task.rootfs_is_mounted()? || task.lab().lie() == Some(Lie::LeftMount);
    if mounted {
        return Err(Stop::violated("the root is still mounted", "no mount", "a mount"));
    }
    Ok(())
}

/// The client has put the root together in the bundle's directory.
async fn without_mounts(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::exits_with(6))).await?;
    let rootfs = task.bundle().join("rootfs");
    for name in ["proc", "dev"] {
        directory(&rootfs.join(name))?;
    }
    fs::write(rootfs.join("payload"), "").context("create the payload's mount point")?;
    lab.call(task.create_request_mounted(&[])?).await?.done("Create without mounts")?;
    task.start().await?;
    task.wait().await?.reports(6)?;
    task.delete().await?;
    // containerd expects the directory as empty as it made it.
    for entry in fs::read_dir(&rootfs).with_context(|| format!("list {}", rootfs.display()))? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// The second of two mounts cannot be made: the first is undone.
async fn no_such_mount(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let sources = [lab.places().rootfs.clone(), lab.places().base.join("no-such-layer")];
    let mounts = sources.map(|source| RootMount::bind(&source.display().to_string()));
    lab.call(task.create_request_mounted(&mounts)?).await?.declined("Create with a mount of nothing")?;
    unmounted(&task)
}

/// The image leads a mount astray by a symbolic link; wherever it ends up, it is not outside.
async fn escape(lab: &Lab) -> Result<(), Stop> {
    if lab.job().isolation == Isolation::None {
        return Err(Stop::Skipped("without isolation the mount would land on the host".to_owned()));
    }
    let base = &lab.places().base;
    let (outside, layer) = (base.join("outside"), base.join("layer"));
    directory(&outside.join("target"))?;
    directory(&layer)?;
    let link = lab.places().rootfs.join("way");
    symlink(&outside, &link).with_context(|| format!("link {}", link.display()))?;
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let astray = RootMount { target: "way/target".to_owned(), ..RootMount::bind(&layer.display().to_string()) };
    let mounts = [RootMount::bind(&lab.places().rootfs.display().to_string()), astray];
    // A shim that takes no targets, or does not find this one, refuses or mounts something else.
    if let answer @ Answer::Lost(_) = lab.call(task.create_request_mounted(&mounts)?).await? {
        answer.done("Create with a mount below a symbolic link")?;
    }
    let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
    let escaped = mounts.into_iter().any(|mount| mount.mount_point.starts_with(&outside));
    if escaped || lab.lie() == Some(Lie::LeftMount) {
        return Err(Stop::violated(
            "a mount landed outside of the bundle",
            "none there",
            outside.display().to_string(),
        ));
    }
    Ok(())
}
