//! A container image made of the root file system, so that containerd hands the shim mounts, as it mostly does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command;

/// The name under which the image is imported.
pub(super) const NAME: &str = "ci.invalid/rootfs:latest";

/// Packs `rootfs` as an OCI image layout in a tar file below `home`, and answers the file's path.
pub(super) fn pack(rootfs: &Path, home: &Path) -> Result<PathBuf> {
    let layout = home.join("image");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("cannot create {}", blobs.display()))?;
    let layer = layout.join("layer");
    tar(rootfs, &layer)?;
    let layer = Blob::put(&blobs, &layer, "application/vnd.oci.image.layer.v1.tar")?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
    });
    let config = Blob::write(&layout, &blobs, &config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({ "schemaVersion": 2, "config": config.descriptor(), "layers": [layer.descriptor()] });
    let manifest = Blob::write(&layout, &blobs, &manifest, "application/vnd.oci.image.manifest.v1+json")?;
    let mut manifest = manifest.descriptor();
    manifest["annotations"] =
        json!({ "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "latest" });
    write(&layout.join("index.json"), &json!({ "schemaVersion": 2, "manifests": [manifest] }))?;
    write(&layout.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }))?;
    let archive = home.join("image.tar");
    tar(&layout, &archive)?;
    Ok(archive)
}

/// Content that is stored under its own hash.
struct Blob {
    media_type: &'static str,
    hash: String,
    size: u64,
}

impl Blob {
    /// Moves a file to where its hash says.
    fn put(blobs: &Path, file: &Path, media_type: &'static str) -> Result<Self> {
        let sum = command::read(Command::new("sha256sum").arg("--binary").arg(file).stdin(Stdio::null()))?;
        let hash = sum.split(' ').next().unwrap_or_default().to_owned();
        let size = fs::metadata(file).with_context(|| format!("cannot look at {}", file.display()))?.len();
        fs::rename(file, blobs.join(&hash)).with_context(|| format!("cannot move {}", file.display()))?;
        Ok(Self { media_type, hash, size })
    }

    fn write(layout: &Path, blobs: &Path, value: &Value, media_type: &'static str) -> Result<Self> {
        let file = layout.join("blob");
        write(&file, value)?;
        Self::put(blobs, &file, media_type)
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.size })
    }
}

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    // Its own output may lie in the folder; a gate of an earlier step must not be read.
    tar.args(["--create", "--exclude=./layer", "--exclude=./gate-*", "--file"]).arg(archive);
    command::read(tar.arg("--directory").arg(folder).arg(".").stdin(Stdio::null())).map(|_| ())
}

fn write(file: &Path, value: &Value) -> Result<()> {
    fs::write(file, value.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// This machine's architecture as images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_refers_to_its_blobs_by_hash() {
        let home = tempfile::tempdir().unwrap();
        let rootfs = home.path().join("rootfs");
        fs::create_dir(&rootfs).unwrap();
        fs::write(rootfs.join("file"), "text").unwrap();
        let archive = pack(&rootfs, home.path()).unwrap();
        assert!(archive.is_file());
        let index = fs::read_to_string(home.path().join("image/index.json")).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        let blobs = home.path().join("image/blobs/sha256");
        let manifest = fs::read_to_string(blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let layer = fs::metadata(blobs.join(layer.trim_start_matches("sha256:"))).unwrap();
        assert_eq!(manifest["layers"][0]["size"], layer.len());
        assert_eq!(fs::read_dir(&blobs).unwrap().count(), 3);
    }
}
