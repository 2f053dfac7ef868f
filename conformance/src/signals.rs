//! SIGINT and SIGTERM: the first one ends the run in order, the second one ends it at once.

use std::{sync::Arc, thread};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use crate::runner::Control;

/// Watches from now on, on a thread of its own. Must be called before other threads are started, because they inherit what is blocked
/// here. So do processes: a world begins with emptying its mask.
///
/// # Errors
///
/// When signals cannot be blocked.
pub fn watch(control: &Arc<Control>) -> Result<()> {
    // A run that is over is not kept by the thread that waits for signals.
    let control = Arc::downgrade(control);
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("block SIGINT and SIGTERM")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            // It can only fail for want of a valid set.
            if let (Ok(signal), Some(control)) = (signals.wait(), control.upgrade()) {
                control.interrupt(signal as i32);
            }
            // A second one does what it does to every program; the worlds die with their parent.
            _ = signals.thread_unblock();
            loop {
                thread::park();
            }
        })
        .context("start the thread that waits for signals")?;
    Ok(())
}
