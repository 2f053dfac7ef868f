//! `conformance merge`.

use std::{path::Path, process::ExitCode};

use super::{
    args::Merge,
    chaos::{headline, status, summary},
    say,
};
use crate::{
    chaos::{merge, results::Results},
    exit_code::Failure,
};

/// Puts the results of shards together, writes and tells the sum, and ends with its status.
pub(super) fn merge(options: &Merge) -> Result<ExitCode, Failure> {
    let read = |path: &std::path::PathBuf| {
        let results = Results::read(path).map_err(|e| Failure::Usage(format!("{e:#}")))?;
        Ok((path.display().to_string(), results))
    };
    let shards = options.results.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let sum = merge::merge(&shards).map_err(|refusal| Failure::Usage(refusal.to_string()))?;
    let beside = options.results.first().and_then(|first| first.parent()).unwrap_or_else(|| Path::new(""));
    let file = options.out.clone().unwrap_or_else(|| beside.join(sum.file_name()));
    sum.write(&file)?;
    say(&headline(&sum.run, sum.shard))?;
    say(&summary(&sum))?;
    say(&format!("results of {} shards: {}\n", shards.len(), file.display()))?;
    Ok(ExitCode::from(status(&sum)))
}
