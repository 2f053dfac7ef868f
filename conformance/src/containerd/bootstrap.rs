//! What a daemon makes of the bytes that `start` printed.

use containerd_shim_protos::bootstrap_api::BootstrapResult;
use protobuf::Message as _;
use serde::Deserialize;

use crate::{
    profile::Profile,
    wire::{Bootstrap, Form, Unusable},
};

/// The JSON form (containerd: `docs/runtime-v2.md`, bootstrap parameters).
#[derive(Deserialize)]
struct Json {
    version: u32,
    address: String,
    protocol: String,
}

/// Reads `stdout` as the given containerd would (containerd: `core/runtime/v2/shim.go`, `parseStartResponse`): newer forms first, then
/// JSON, then the bare address, which means Task v2 over ttrpc.
///
/// # Errors
///
/// Why that containerd cannot use the answer.
pub(super) fn parse(stdout: &[u8], profile: Profile) -> Result<Bootstrap, Unusable> {
    let no = |reason: String| Err(Unusable::No(reason));
    let encoded = if profile.protobuf { protobuf(stdout) } else { None };
    let encoded = encoded.or_else(|| profile.json.and_then(|_| json(stdout)));
    let bootstrap = encoded.map_or_else(|| bare(stdout).map_err(Unusable::No), Ok)?;
    let Bootstrap { form: _, version, address, protocol } = &bootstrap;
    let newest = profile.json.unwrap_or(2);
    if *version > newest {
        return no(format!("version {version} is newer than {newest}, the newest that {profile} knows"));
    }
    match protocol.to_ascii_lowercase().as_str() {
        "ttrpc" => {}
        "grpc" if profile.grpc == Some(*version) => return Err(Unusable::Grpc(address.clone())),
        "grpc" => return no(format!("{profile} does not speak gRPC with a shim of version {version}")),
        other => return no(format!("protocol {other:?} is neither ttrpc nor grpc")),
    }
    if !address.starts_with("unix:///") {
        return no(format!("address {address:?} is not unix:// and an absolute path"));
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
    use crate::profile::{V1_6, V1_7, V2_0, V2_1, V2_2, V2_3};

    const JSON_2: &[u8] = br#"{"version":2,"address":"unix:///s","protocol":"ttrpc"}"#;
    const JSON_3: &[u8] = br#"{"version":3,"address":"unix:///s","protocol":"ttrpc"}"#;
    const GRPC_2: &[u8] = br#"{"version":2,"address":"/s","protocol":"grpc"}"#;
    const GRPC_3: &[u8] = br#"{"version":3,"address":"/s","protocol":"grpc"}"#;
    const PROTOBUF: &[u8] = b"\x08\x03\x12\x09unix:///s\x1a\x05ttrpc";

    #[rstest]
    #[case::bare_everywhere(b"unix:///s\n", V1_6, Some((Form::Bare, 2)))]
    #[case::bare_in_2_3(b"unix:///s", V2_3, Some((Form::Bare, 2)))]
    #[case::json_is_an_address_to_1_6(JSON_2, V1_6, None)]
    #[case::json_2_in_1_7(JSON_2, V1_7, Some((Form::Json, 2)))]
    #[case::json_3_is_too_new_for_1_7(JSON_3, V1_7, None)]
    #[case::json_3_in_2_0(JSON_3, V2_0, Some((Form::Json, 3)))]
    #[case::json_3_in_2_3(JSON_3, V2_3, Some((Form::Json, 3)))]
    #[case::protobuf_in_2_3(PROTOBUF, V2_3, Some((Form::Protobuf, 3)))]
    #[case::protobuf_in_2_2(PROTOBUF, V2_2, None)]
    #[case::nothing(b"", V2_1, None)]
    #[case::a_protocol_of_nobody(br#"{"version":3,"address":"unix:///s","protocol":"http"}"#, V2_1, None)]
    fn each_containerd_reads_its_forms(
        #[case] stdout: &[u8],
        #[case] profile: Profile,
        #[case] expected: Option<(Form, u32)>,
    ) {
        assert_eq!(parse(stdout, profile).ok().map(|b| (b.form, b.version)), expected);
    }

    #[rstest]
    #[case::too_old(GRPC_2, V1_6, false)]
    #[case::version_2_in_1_7(GRPC_2, V1_7, true)]
    #[case::version_3_in_1_7(GRPC_3, V1_7, false)]
    #[case::version_2_in_2_0(GRPC_2, V2_0, false)]
    #[case::version_3_in_2_3(GRPC_3, V2_3, true)]
    fn grpc_is_recognised_where_containerd_would_speak_it(
        #[case] stdout: &[u8],
        #[case] profile: Profile,
        #[case] spoken: bool,
    ) {
        let unusable = parse(stdout, profile).unwrap_err();
        assert_eq!(matches!(unusable, Unusable::Grpc(_)), spoken, "{unusable}");
    }
}
