//! `conformance audit`.

use std::{process::ExitCode, sync::mpsc, thread};

use super::{
    args::{self, Audit},
    choose_color, controlled, run, say,
};
use crate::{
    audit::{self, Audited},
    clock,
    exit_code::{self, Failure},
    report::Theme,
    runner::{self, Choices},
    select,
    subject::Subject,
};

/// Audits what is selected; success when every check holds and notices all its lies.
pub(super) fn audit(options: Audit) -> Result<ExitCode, Failure> {
    choose_color(options.output.color);
    let begun = clock::now();
    let quiet = options.output.quiet;
    let checks = select::select(&run::selection(options.selection))?;
    let choices = Choices { jobs: run::jobs(&options.pace), seed: run::seed(&options.pace), cases: options.pace.cases };
    let control = controlled()?;
    let profile = args::single(&options.subject.profile)?;
    let subject = Subject::resolve(&run::wish(&options.subject, profile, options.pace.timeout_scale)?, &control)?;
    let tasks = audit::tasks(&checks);
    let theme = Theme::of_environment();
    let (news, heard) = mpsc::channel();
    let all = thread::scope(|scope| {
        scope.spawn(|| runner::run(&subject, &tasks, choices, &control, &news));
        audit::hear(&tasks, &heard, |audited| say(&line(audited, theme, quiet)))
    })?;
    let defective = all.iter().filter(|audited| !audited.defects().is_empty()).count();
    let undecidable = all.iter().filter(|audited| audited.is_undecidable()).count();
    let lies: usize = all.iter().map(|audited| audited.lies.len()).sum();
    say(&format!(
        "audit: {} checks, {lies} lies, {defective} defective, {undecidable} not decidable here  seed {:#x}  {:.1}s\n",
        all.len(),
        choices.seed,
        clock::now().ms_since(begun) / 1000.0
    ))?;
    Ok(ExitCode::from(match control.signal() {
        Some(signal) => exit_code::of_signal(signal),
        None if defective > 0 => exit_code::VIOLATED,
        None if undecidable == all.len() => exit_code::HOST,
        None => exit_code::GREEN,
    }))
}

fn line(audited: &Audited, theme: Theme, quiet: bool) -> String {
    let defects = audited.defects();
    let (id, lies) = (audited.check.id, audited.lies.len());
    if !defects.is_empty() {
        format!("{} {id}\n    {}\n", theme.bad(), defects.join("\n    "))
    } else if quiet {
        String::new()
    } else if audited.is_undecidable() {
        format!("{} {id}  cannot be decided here\n", theme.skipped())
    } else {
        format!("{} {id}  notices {lies} of {lies} lies\n", theme.good())
    }
}
