//! Signals by name and number, real-time ones included.

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

/// The kernel's first and last real-time numbers; the C library keeps the first two of them to itself.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Reads `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3` or `SIGRTMAX-1`.
pub(super) fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if !(0..=*REAL_TIME.end()).contains(&number) {
            bail!("unknown signal {text:?}");
        }
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    let known: Signal = format!("SIG{name}").parse().ok().with_context(|| format!("unknown signal {text:?}"))?;
    Ok(known as i32)
}

fn real_time(name: &str) -> Option<i32> {
    let (base, sign, rest) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (*REAL_TIME.start(), '+', rest)
    } else {
        (*REAL_TIME.end(), '-', name.strip_prefix("RTMAX")?)
    };
    let distance = match rest.strip_prefix(sign) {
        Some(digits) => digits.parse::<i32>().ok()?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    let number = if sign == '+' { base + distance } else { base - distance };
    REAL_TIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("9", 9)]
    #[case("0", 0)]
    #[case("64", 64)]
    #[case("KILL", 9)]
    #[case("SIGTERM", 15)]
    #[case("sigusr1", 10)]
    #[case("RTMIN", 34)]
    #[case("SIGRTMIN+3", 37)]
    #[case("RTMAX-1", 63)]
    fn reads(#[case] text: &str, #[case] number: i32) {
        assert_eq!(parse(text).unwrap(), number);
    }

    #[rstest]
    #[case("65")]
    #[case("-1")]
    #[case("")]
    #[case("SIG")]
    #[case("NOPE")]
    #[case("RTMIN+31")]
    #[case("RTMIN-1")]
    fn refuses(#[case] text: &str) {
        assert!(parse(text).is_err());
    }
}
