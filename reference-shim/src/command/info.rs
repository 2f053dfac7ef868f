//! `-v` and `-info`: who we are. Neither touches a bundle.

use std::io::{self, IsTerminal, Read, Write};

use containerd_shim_protos::{
    protobuf::{Message, well_known_types::any::Any},
    shim::oci::Options,
    types::introspection::{RuntimeInfo, RuntimeVersion},
};

use super::delete::with_reaper;
use crate::{error::Error, runtime::Runtime, supervisor};

/// The name under which containerd runs this shim.
const NAME: &str = "io.containerd.reference.v1";

const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

pub(crate) fn version() -> Result<(), Error> {
    let text = format!("containerd-shim-reference-v1:\n  Version:  {}\n  Task API: 2, 3\n", env!("CARGO_PKG_VERSION"));
    write(text.as_bytes())
}

/// Prints a `RuntimeInfo`; stdin may hold an `Any` with the options that would be used.
pub(crate) fn info() -> Result<(), Error> {
    let mut stdin = Vec::new();
    if !io::stdin().is_terminal() {
        io::stdin().read_to_end(&mut stdin).map_err(Error::io("read", "stdin"))?;
    }
    let any = Any::parse_from_bytes(&stdin).map_err(|cause| Error::InvalidArgument(format!("options: {cause}")))?;
    let given = !any.type_url.is_empty() || !any.value.is_empty();
    let options = supervisor::runtime_options(Some(&any))?.unwrap_or_default();
    let mut info = RuntimeInfo::new();
    info.name = NAME.to_owned();
    let mut version = RuntimeVersion::new();
    version.version = env!("CARGO_PKG_VERSION").to_owned();
    info.version = Some(version).into();
    info.options = given.then_some(any).into();
    info.features = features(&options)?.into();
    write(&info.write_to_bytes().map_err(|cause| Error::Other(format!("encode the info: {cause}")))?)
}

/// What the runtime says of itself; nothing where there is no runtime, or none that says.
fn features(options: &Options) -> Result<Option<Any>, Error> {
    let Ok(runtime) = Runtime::choose(options, "") else {
        return Ok(None);
    };
    let text = with_reaper(async |reaper| runtime.features(&reaper).await)?;
    Ok(text.map(|value| Any { type_url: FEATURES.to_owned(), value, ..Any::default() }))
}

fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::io("write", "stdout"))
}
