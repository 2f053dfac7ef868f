//! What the client's strings for stdout and stderr mean.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use crate::error::Error;

/// Where a stream goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nowhere.
    Null,
    /// A FIFO that the client made, or a file that exists.
    Fifo(PathBuf),
    /// A file to append to.
    File(PathBuf),
    /// A program that takes both streams.
    Logger {
        program: PathBuf,
        args: Vec<OsString>,
        /// It writes a byte when it is ready; others are ready when they close their end.
        confirms: bool,
    },
}

impl Target {
    /// Reads a path or a URI, as `docs/runtime-v2.md` of containerd describes them.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Fifo(text.into()));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(decode(path));
        if !path.is_absolute() {
            return Err(Error::InvalidArgument(format!("stdio {text:?} without an absolute path")));
        }
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" | "binary-v2" => {
                Ok(Self::Logger { program: path, args: arguments(query), confirms: scheme == "binary-v2" })
            }
            _ => Err(Error::InvalidArgument(format!("unknown stdio scheme {scheme:?}"))),
        }
    }
}

/// The logger's arguments: each key, followed by its value.
fn arguments(query: &str) -> Vec<OsString> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .flat_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            [decode(&key.replace('+', " ")), decode(&value.replace('+', " "))]
        })
        .collect()
}

/// Undoes percent-encoding; what is not one stays as it is.
fn decode(text: &str) -> OsString {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = (bytes[index] == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(byte);
            index += 3;
        } else {
            decoded.push(bytes[index]);
            index += 1;
        }
    }
    OsString::from_vec(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_schemes() {
        assert_eq!(Target::parse("").unwrap(), Target::Null);
        assert_eq!(Target::parse("/a b").unwrap(), Target::Fifo("/a b".into()));
        assert_eq!(Target::parse("file:///a%20b").unwrap(), Target::File("/a b".into()));
        assert!(matches!(Target::parse("file://a"), Err(Error::InvalidArgument(_))));
        assert!(matches!(Target::parse("http:///a"), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn logger_arguments_alternate() {
        let target = Target::parse("binary-v2:///l?k=v&flag&x=a%3Db+c").unwrap();
        let args = ["k", "v", "flag", "", "x", "a=b c"].map(OsString::from).to_vec();
        assert_eq!(target, Target::Logger { program: "/l".into(), args, confirms: true });
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(decode("%zz%4"), OsString::from("%zz%4"));
    }
}
