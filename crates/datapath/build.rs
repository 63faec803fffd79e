//! Builds the kernel programs and leaves them in `OUT_DIR/portcullis.o`, for the library to embed.
//! `SKIP_EBPF_BUILD=1` leaves an empty file instead: enough for check, clippy and docs.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let root = manifest.ancestors().nth(2).ok_or("this crate is not two levels below the workspace root")?;

    println!("cargo::rerun-if-env-changed=SKIP_EBPF_BUILD");
    for variable in portcullis_ebpf_build::VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for input in portcullis_ebpf_build::INPUTS {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }

    if env::var_os("SKIP_EBPF_BUILD").is_some_and(|value| value == "1") {
        for object in [portcullis_ebpf_build::OBJECT, portcullis_ebpf_build::SHIELD_OBJECT] {
            fs::write(out_dir.join(object), [])?;
        }
        return Ok(());
    }
    portcullis_ebpf_build::build(root, &out_dir)?;
    Ok(())
}
