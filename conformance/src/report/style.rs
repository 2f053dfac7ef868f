//! How verdicts look: never by colour alone, and in ASCII where the locale is not UTF-8.

use anstyle::{AnsiColor, Style};

use crate::check::Word;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Which symbols a terminal can show. Colours are always written; the stream strips them where they are not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    unicode: bool,
}

impl Theme {
    /// As the locale says: the first of LC_ALL, LC_CTYPE and LANG that is set decides.
    pub fn of_environment() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|variable| std::env::var(variable).ok())
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self { unicode: locale.ends_with("utf-8") || locale.ends_with("utf8") }
    }

    /// For pages, which are UTF-8 wherever they are read.
    pub(super) const UNICODE: Self = Self { unicode: true };

    /// Nothing but ASCII.
    pub const ASCII: Self = Self { unicode: false };

    pub(super) fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// What is as it should be.
    pub fn good(self) -> String {
        green(self.pick("✔", "ok"))
    }

    /// What is not.
    pub fn bad(self) -> String {
        red(self.pick("✖", "XX"))
    }

    /// What cannot be told.
    pub fn skipped(self) -> String {
        dim(self.pick("–", "--"))
    }

    /// The symbol of a verdict.
    pub(super) fn symbol(self, verdict: Word) -> &'static str {
        match verdict {
            Word::Held => self.pick("✔", "ok"),
            Word::Violated => self.pick("✖", "XX"),
            Word::Waived => self.pick("≈", "~~"),
            Word::Skipped | Word::NotApplicable => self.pick("–", "--"),
            Word::Inconclusive => self.pick("?", "? "),
            Word::Error => self.pick("!", "! "),
        }
    }

    /// The symbol in its colour.
    pub fn painted(self, verdict: Word) -> String {
        paint(of(verdict), self.symbol(verdict))
    }
}

/// The colour of a verdict.
pub(super) const fn of(verdict: Word) -> Style {
    match verdict {
        Word::Held => GREEN,
        Word::Violated | Word::Error => RED,
        Word::Waived | Word::Inconclusive => YELLOW,
        Word::Skipped | Word::NotApplicable => DIM,
    }
}

/// `text` in this style.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Important.
pub(super) fn bold(text: &str) -> String {
    paint(BOLD, text)
}

/// Beside the point.
pub(super) fn dim(text: &str) -> String {
    paint(DIM, text)
}

/// Wrong.
pub(super) fn red(text: &str) -> String {
    paint(RED, text)
}

/// Right.
pub(super) fn green(text: &str) -> String {
    paint(GREEN, text)
}

/// Doubtful.
pub(super) fn yellow(text: &str) -> String {
    paint(YELLOW, text)
}
