//! What a daemon makes of the bytes that `start` printed.

use containerd_shim_protos::bootstrap_api::BootstrapResult;
use protobuf::Message as _;
use serde::Deserialize;

use crate::wire::{Bootstrap, Daemon, Form};

/// The JSON form (containerd: `docs/runtime-v2.md`, bootstrap parameters).
#[derive(Deserialize)]
struct Json {
    version: u32,
    address: String,
    protocol: String,
}

/// Reads `stdout` as the given daemon would (containerd: `core/runtime/v2/shim.go`, `parseStartResponse`): newer forms first, then
/// JSON, then the bare address, which means Task v2 over ttrpc.
///
/// # Errors
///
/// Why that daemon cannot use the answer.
pub(super) fn parse(stdout: &[u8], daemon: Daemon) -> Result<Bootstrap, String> {
    let accepted: u32 = match daemon {
        Daemon::V1_6 | Daemon::V1_7 => 2,
        Daemon::V2_1 | Daemon::V2_3 => 3,
    };
    let bootstrap = match daemon {
        Daemon::V1_6 => bare(stdout)?,
        Daemon::V1_7 | Daemon::V2_1 => json(stdout).map_or_else(|| bare(stdout), Ok)?,
        Daemon::V2_3 => protobuf(stdout).or_else(|| json(stdout)).map_or_else(|| bare(stdout), Ok)?,
    };
    if bootstrap.version > accepted {
        return Err(format!("version {} is newer than {accepted}, the newest this daemon knows", bootstrap.version));
    }
    if bootstrap.protocol != "ttrpc" {
        return Err(format!("protocol {:?} is not spoken by this suite", bootstrap.protocol));
    }
    if !bootstrap.address.starts_with("unix:///") {
        return Err(format!("address {:?} is not unix:// and an absolute path", bootstrap.address));
    }
    Ok(bootstrap)
}

fn bare(stdout: &[u8]) -> Result<Bootstrap, String> {
    let address = std::str::from_utf8(stdout).map_err(|_| "the answer is not text".to_owned())?.trim();
    if address.is_empty() {
        return Err("the answer is empty".to_owned());
    }
    Ok(Bootstrap { form: Form::Bare, version: 2, address: address.to_owned(), protocol: "ttrpc".to_owned() })
}

fn json(stdout: &[u8]) -> Option<Bootstrap> {
    let Json { version, address, protocol } = serde_json::from_slice(stdout).ok()?;
    // Below 2 containerd takes the whole text for an address (contract BOOT-17).
    (version >= 2).then_some(Bootstrap { form: Form::Json, version, address, protocol })
}

fn protobuf(stdout: &[u8]) -> Option<Bootstrap> {
    let result = BootstrapResult::parse_from_bytes(stdout).ok()?;
    let version = u32::try_from(result.version).ok()?;
    (version >= 2 && !result.address.is_empty()).then_some(Bootstrap {
        form: Form::Protobuf,
        version,
        address: result.address,
        protocol: result.protocol,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const JSON_2: &[u8] = br#"{"version":2,"address":"unix:///s","protocol":"ttrpc"}"#;
    const JSON_3: &[u8] = br#"{"version":3,"address":"unix:///s","protocol":"ttrpc"}"#;

    #[rstest]
    #[case::bare_everywhere(b"unix:///s\n", Daemon::V1_6, Some((Form::Bare, 2)))]
    #[case::bare_in_2_3(b"unix:///s", Daemon::V2_3, Some((Form::Bare, 2)))]
    #[case::json_is_an_address_to_1_6(JSON_2, Daemon::V1_6, None)]
    #[case::json_2_in_1_7(JSON_2, Daemon::V1_7, Some((Form::Json, 2)))]
    #[case::json_3_is_too_new_for_1_7(JSON_3, Daemon::V1_7, None)]
    #[case::json_3_in_2_1(JSON_3, Daemon::V2_1, Some((Form::Json, 3)))]
    #[case::protobuf_in_2_3(b"\x08\x03\x12\x09unix:///s\x1a\x05ttrpc", Daemon::V2_3, Some((Form::Protobuf, 3)))]
    #[case::protobuf_in_2_1(b"\x08\x03\x12\x09unix:///s\x1a\x05ttrpc", Daemon::V2_1, None)]
    #[case::nothing(b"", Daemon::V2_1, None)]
    #[case::grpc(br#"{"version":3,"address":"/s","protocol":"grpc"}"#, Daemon::V2_1, None)]
    fn each_daemon_reads_its_forms(
        #[case] stdout: &[u8],
        #[case] daemon: Daemon,
        #[case] expected: Option<(Form, u32)>,
    ) {
        assert_eq!(parse(stdout, daemon).ok().map(|b| (b.form, b.version)), expected);
    }
}
