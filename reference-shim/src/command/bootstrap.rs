//! What containerd says on stdin of `start`, and how it wants to be answered.
//!
//! Three dialects have existed: up to 2.2 stdin is empty or a `google.protobuf.Any` with options, since 2.3 it is
//! `BootstrapParams`. The two messages cannot be told apart by their form, since both begin with two strings. But
//! `BootstrapParams` repeats what the flags say, and an `Any` does not, so identity decides. Whoever sent
//! `BootstrapParams` understands `BootstrapResult`; everybody else understands the bare address, 1.6 and 1.7 nothing
//! newer, and a bare address promises the Task API v2, which the socket serves along with v3.

use std::path::{Path, PathBuf};

use containerd_shim_protos::{
    bootstrap_api::{BootstrapParams, BootstrapResult},
    protobuf::{Message, well_known_types::any::Any},
    shim::oci::Options,
};

use crate::{error::Error, socket, supervisor};

/// Overrides the dialect of the answer.
pub(crate) const DIALECT: &str = "REFERENCE_SHIM_BOOTSTRAP";

/// How `start` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The address alone.
    Bare,
    Json,
    Protobuf,
}

impl Dialect {
    /// The dialect that an environment variable asks for.
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "bare" => Ok(Self::Bare),
            "json" => Ok(Self::Json),
            "protobuf" => Ok(Self::Protobuf),
            other => Err(Error::InvalidArgument(format!("{DIALECT}={other:?} is not bare, json or protobuf"))),
        }
    }

    /// The bytes for stdout.
    pub(crate) fn encode(self, address: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bare => Ok(address.as_bytes().to_vec()),
            Self::Json => {
                let answer = serde_json::json!({"version": VERSION, "address": address, "protocol": PROTOCOL});
                Ok(answer.to_string().into_bytes())
            }
            Self::Protobuf => {
                let mut result = BootstrapResult::new();
                result.version = VERSION;
                result.address = address.to_owned();
                result.protocol = PROTOCOL.to_owned();
                result.write_to_bytes().map_err(|cause| Error::Other(format!("encode the answer: {cause}")))
            }
        }
    }
}

/// The version of the Task API that is promised where one can be.
const VERSION: i32 = containerd_shim_protos::TASK_API_VERSION;

const PROTOCOL: &str = "ttrpc";

/// What was said on stdin.
#[derive(Debug, PartialEq)]
pub(crate) struct Greeting {
    pub(crate) dialect: Dialect,
    pub(crate) socket_directory: PathBuf,
    /// containerd's ttrpc socket, where it was named.
    pub(crate) ttrpc_address: Option<String>,
    /// runc's options, if there were any.
    pub(crate) options: Option<Options>,
}

impl Greeting {
    /// Reads stdin. Whatever it is, the flags say who we are; what cannot be understood is no reason to fail.
    pub(crate) fn parse(stdin: &[u8], namespace: &str, id: &str) -> Self {
        let params = BootstrapParams::parse_from_bytes(stdin)
            .ok()
            .filter(|params| params.instance_id == id && params.namespace == namespace);
        let Some(params) = params else {
            let options = Any::parse_from_bytes(stdin).ok();
            return Self {
                dialect: Dialect::Bare,
                socket_directory: socket::DIRECTORY.into(),
                ttrpc_address: None,
                options: options.as_ref().and_then(runc_options),
            };
        };
        let directory = params.socket_dir.as_deref().filter(|directory| Path::new(directory).is_absolute());
        Self {
            dialect: Dialect::Protobuf,
            socket_directory: directory.unwrap_or(socket::DIRECTORY).into(),
            ttrpc_address: Some(params.containerd_ttrpc_address.clone()).filter(|address| !address.is_empty()),
            options: params.extensions.iter().filter_map(|extension| runc_options(&extension.value)).next(),
        }
    }
}

fn runc_options(any: &Any) -> Option<Options> {
    supervisor::runtime_options(Some(any)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::bootstrap_api::Extension;
    use rstest::rstest;

    use super::*;

    fn any() -> Any {
        let mut options = Options::new();
        options.binary_name = "crun".to_owned();
        let mut any = Any::new();
        any.type_url = "containerd.runc.v1.Options".to_owned();
        any.value = options.write_to_bytes().unwrap();
        any
    }

    fn params() -> BootstrapParams {
        let mut params = BootstrapParams::new();
        params.instance_id = "i".to_owned();
        params.namespace = "n".to_owned();
        params.containerd_ttrpc_address = "/t".to_owned();
        let mut extension = Extension::new();
        extension.value = Some(any()).into();
        params.extensions.push(extension);
        params
    }

    #[rstest]
    #[case::empty(&[])]
    #[case::garbage(b"\xff\xff\xff")]
    fn nothing_said(#[case] stdin: &[u8]) {
        let greeting = Greeting::parse(stdin, "n", "i");
        assert_eq!((greeting.dialect, greeting.options), (Dialect::Bare, None));
        assert_eq!(greeting.socket_directory, Path::new(socket::DIRECTORY));
    }

    #[test]
    fn options_alone_are_the_old_dialect() {
        let greeting = Greeting::parse(&any().write_to_bytes().unwrap(), "n", "i");
        assert_eq!(greeting.dialect, Dialect::Bare);
        assert_eq!(greeting.options.unwrap().binary_name, "crun");
    }

    #[test]
    fn parameters_are_the_new_dialect() {
        let mut params = params();
        params.socket_dir = Some("/s".to_owned());
        let greeting = Greeting::parse(&params.write_to_bytes().unwrap(), "n", "i");
        assert_eq!(greeting.dialect, Dialect::Protobuf);
        assert_eq!(greeting.socket_directory, Path::new("/s"));
        assert_eq!(greeting.ttrpc_address.as_deref(), Some("/t"));
        assert_eq!(greeting.options.unwrap().binary_name, "crun");
    }

    #[test]
    fn parameters_of_somebody_else_are_not_believed() {
        let greeting = Greeting::parse(&params().write_to_bytes().unwrap(), "n", "another");
        assert_eq!(greeting.dialect, Dialect::Bare);
    }

    #[test]
    fn answers() {
        assert_eq!(Dialect::Bare.encode("unix:///s").unwrap(), b"unix:///s");
        let json: serde_json::Value = serde_json::from_slice(&Dialect::Json.encode("unix:///s").unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"version": 3, "address": "unix:///s", "protocol": "ttrpc"}));
        let result = BootstrapResult::parse_from_bytes(&Dialect::Protobuf.encode("unix:///s").unwrap()).unwrap();
        assert_eq!((result.version, result.address.as_str()), (3, "unix:///s"));
    }
}
