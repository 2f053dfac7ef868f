//! `conformance bench`.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{
    args::{self, Bench, BenchFormat},
    controlled, say,
};
use crate::{
    audit,
    bench::{
        self, Failure as FailedLife, Measured,
        figures::{self, FIGURES, Spread},
    },
    exit_code::{self, Failure},
    subject::{Subject, Wish},
};

/// Measures and tells; success unless a life failed.
pub(super) fn bench(options: Bench) -> Result<ExitCode, Failure> {
    let profile = args::single(&[options.profile])?;
    let control = controlled()?;
    let mut shims = Vec::new();
    for path in options.shim {
        let wish = Wish { engine: options.engine.clone(), profile, ..Wish::new(path) };
        shims.push(Subject::resolve(&wish, &control)?);
    }
    let rounds = options.rounds;
    let measured = bench::measure(&shims, rounds, &control, |round| progress(round, rounds));
    progress_ends();
    say(&match options.format {
        BenchFormat::Table => table(&shims, &measured),
        BenchFormat::Json => format!("{:#}\n", as_json(&shims, rounds, &measured)),
    })?;
    Ok(ExitCode::from(match control.signal() {
        Some(signal) => exit_code::of_signal(signal),
        None if measured.failures.is_empty() => exit_code::GREEN,
        None => exit_code::VIOLATED,
    }))
}

/// On a terminal, one line that is written over; to miss it harms nobody.
fn progress(round: u32, rounds: u32) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        _ = write!(err, "\rround {round} of {rounds}");
    }
}

fn progress_ends() {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        _ = write!(err, "\r\x1b[K");
    }
}

/// The shims' letters in the table.
fn letter(shim: usize) -> String {
    u8::try_from(shim)
        .ok()
        .filter(|shim| *shim < 26)
        .map_or_else(|| shim.to_string(), |shim| char::from(b'A' + shim).to_string())
}

fn spreads(measured: &Measured, place: usize) -> Vec<Option<Spread>> {
    let of_shim = |samples: &Vec<_>| Spread::of(&figures::values(samples, place));
    measured.samples.iter().map(of_shim).collect()
}

/// The median of `spread`, as a multiple of the first shim's.
fn ratio(spreads: &[Option<Spread>], spread: Spread) -> Option<f64> {
    let first = spreads.first().copied().flatten()?;
    (first.median > 0.0).then(|| spread.median / first.median)
}

/// Markdown that can be read as it is.
fn table(shims: &[Subject], measured: &Measured) -> String {
    let mut text = String::new();
    for (shim, subject) in shims.iter().enumerate() {
        let rounds = measured.samples[shim].len();
        let version = subject.version.as_deref().unwrap_or("of unknown version");
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "- {}: {}, {version}, engine {}, profile {}, {rounds} rounds",
            letter(shim),
            subject.shim.display(),
            subject.engine_name(),
            subject.profile,
        );
    }
    text.push('\n');
    let head = std::iter::once(String::new()).chain((0..shims.len()).map(letter));
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    for (place, figure) in FIGURES.iter().enumerate() {
        let spreads = spreads(measured, place);
        let cells = spreads.iter().map(|spread| match spread {
            Some(spread) => cell(*spread, ratio(&spreads, *spread), figure.unit),
            None => "-".to_owned(),
        });
        let name = match figure.unit {
            "" => figure.name.to_owned(),
            unit => format!("{}, {unit}", figure.name),
        };
        rows.push(std::iter::once(name).chain(cells).collect());
    }
    write_rows(&mut text, &rows);
    for (number, failure) in measured.failures.iter().enumerate() {
        let gap = if number == 0 { "\n" } else { "" };
        _ = writeln!(text, "{gap}- failed: {}", told(failure));
    }
    text
}

/// `median (min–max) ×ratio`.
fn cell(spread: Spread, ratio: Option<f64>, unit: &str) -> String {
    let Spread { median, min, max } = spread;
    let digits = usize::from(!unit.is_empty());
    let ratio = ratio.map_or_else(String::new, |ratio| format!(" ×{ratio:.2}"));
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$}){ratio}")
}

fn write_rows(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
}

fn told(failure: &FailedLife) -> String {
    let FailedLife { shim, round, verdict } = failure;
    format!("{}, round {round}: {}", letter(*shim), audit::told(verdict))
}

fn as_json(shims: &[Subject], rounds: u32, measured: &Measured) -> Value {
    let of_shim = |(shim, subject): (usize, &Subject)| {
        let figures: serde_json::Map<String, Value> = FIGURES
            .iter()
            .enumerate()
            .map(|(place, figure)| (figure.id.to_owned(), figure_json(measured, place, shim)))
            .collect();
        json!({
            "shim": subject.shim,
            "version": subject.version,
            "engine": subject.engine_name(),
            "profile": subject.profile.name,
            "figures": figures,
        })
    };
    let failures = measured
        .failures
        .iter()
        .map(|failure| json!({ "shim": shims[failure.shim].shim, "round": failure.round, "verdict": failure.verdict }));
    json!({
        "rounds": rounds,
        "shims": shims.iter().enumerate().map(of_shim).collect::<Value>(),
        "failures": failures.collect::<Value>(),
    })
}

fn figure_json(measured: &Measured, place: usize, shim: usize) -> Value {
    let spreads = spreads(measured, place);
    let spread = spreads[shim];
    json!({
        "unit": FIGURES[place].unit,
        "median": spread.map(|spread| spread.median),
        "min": spread.map(|spread| spread.min),
        "max": spread.map(|spread| spread.max),
        "ratio": spread.and_then(|spread| ratio(&spreads, spread)),
        "values": figures::values(&measured.samples[shim], place),
    })
}
