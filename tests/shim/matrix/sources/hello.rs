// SPDX-License-Identifier: Apache-2.0
use std::fs;
use std::io::Write;

fn main() -> std::io::Result<()> {
    fs::write("rust.out", "hello\n")?;
    fs::create_dir_all("rust/deep")?;
    fs::rename("rust.out", "rust/deep/out")?;
    fs::copy("rust/deep/out", "rust/copy")?;
    fs::hard_link("rust/copy", "rust/hard")?;
    let mut kept = fs::File::create("rust/kept")?;
    kept.write_all(b"kept\n")?;
    std::process::exit(0);
}
