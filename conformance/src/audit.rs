//! Does the suite notice? Each check is run on an honest shim as it is, and must hold; and once behind each lie that it names, and must
//! then be violated. A check that misses a lie proves less than it says.

use std::sync::mpsc::Receiver;

use crate::{
    check::{Check, Verdict},
    lie::Lie,
    runner::{Done, News, Task},
};

/// Everything there is to do for `checks`.
pub fn tasks(checks: &[&'static Check]) -> Vec<Task> {
    checks
        .iter()
        .flat_map(|&check| {
            let lies = check.notices.iter().copied().map(Some);
            std::iter::once(None).chain(lies).map(move |lie| Task { check, lie })
        })
        .collect()
}

/// What came of one check.
#[derive(Debug)]
pub struct Audited {
    /// The check.
    pub check: &'static Check,
    /// Its verdict without any lie; `None` when it never ran.
    pub honest: Option<Verdict>,
    /// Its verdict under each lie; those that never ran are missing.
    pub lies: Vec<(Lie, Verdict)>,
    /// How much is still to come.
    pending: usize,
}

impl Audited {
    /// Nothing is known of it yet.
    pub fn new(check: &'static Check) -> Self {
        Self { check, honest: None, lies: Vec::new(), pending: check.notices.len() + 1 }
    }

    /// Takes notice of a verdict.
    pub fn add(&mut self, lie: Option<Lie>, verdict: Verdict) {
        self.pending -= 1;
        match lie {
            None => self.honest = Some(verdict),
            Some(lie) => self.lies.push((lie, verdict)),
        }
    }

    /// Whether everything about it has been seen.
    pub fn is_complete(&self) -> bool {
        self.pending == 0
    }

    /// What is wrong with the check, one sentence each.
    pub fn defects(&self) -> Vec<String> {
        let mut defects = Vec::new();
        match &self.honest {
            Some(Verdict::Held | Verdict::Skipped { .. } | Verdict::NotApplicable { .. }) => {}
            Some(other) => defects.push(format!("without a lie it is {}", told(other))),
            None => defects.push("it never ran".to_owned()),
        }
        if self.is_undecidable() {
            return defects;
        }
        for (lie, verdict) in &self.lies {
            if !matches!(verdict, Verdict::Violated { .. }) {
                defects.push(format!("under {lie:?} it is {}", told(verdict)));
            }
        }
        if self.pending > 0 {
            defects.push(format!("{} runs are missing", self.pending));
        }
        defects
    }

    /// Whether it cannot be decided here; then no lie about it can be noticed either.
    pub fn is_undecidable(&self) -> bool {
        matches!(self.honest, Some(Verdict::Skipped { .. } | Verdict::NotApplicable { .. }))
    }
}

/// The verdict with its reason.
pub fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Held => "held".to_owned(),
        Verdict::Violated { violation, .. } => format!("violated: {violation}"),
        Verdict::Waived { reason }
        | Verdict::Skipped { reason }
        | Verdict::NotApplicable { reason }
        | Verdict::Inconclusive { reason }
        | Verdict::Error { reason } => format!("{}: {reason}", verdict.word()),
    }
}

/// Hears what the workers say about `tasks`, and tells each check as soon as everything is known of it; all of them in the end.
///
/// # Errors
///
/// What `tell` answers; the rest is heard but no longer told.
pub fn hear<E>(
    tasks: &[Task],
    news: &Receiver<News>,
    mut tell: impl FnMut(&Audited) -> Result<(), E>,
) -> Result<Vec<Audited>, E> {
    let mut audited: Vec<Audited> = Vec::new();
    for task in tasks {
        if audited.last().is_none_or(|last| last.check.id != task.check.id) {
            audited.push(Audited::new(task.check));
        }
    }
    let mut told = Ok(());
    for news in news {
        match news {
            News::Started { .. } => {}
            News::Ended { index, done } => {
                let Done { ending, .. } = *done;
                let Task { check, lie } = tasks[index];
                let of_check = audited.iter_mut().find(|audited| audited.check.id == check.id);
                if let Some(audited) = of_check {
                    audited.add(lie, ending.verdict);
                    if audited.is_complete() && told.is_ok() {
                        told = tell(audited);
                    }
                }
            }
            News::Over => break,
        }
    }
    told?;
    audited.iter().filter(|rest| !rest.is_complete()).try_for_each(tell)?;
    Ok(audited)
}
