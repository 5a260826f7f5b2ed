//! `include/v2m.h` is what cbindgen makes of the sources; `V2M_WRITE_HEADER=1` writes it anew.
//! That it compiles, and how, is tested from C (`tests/capi`).

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ["types.rs", "handles.rs", "exports.rs"] {
        builder = builder.with_src(root.join("src").join(source));
    }
    let mut made = Vec::new();
    builder.generate().expect("a header").write(&mut made);
    // Codes and kinds by their own names.
    let made = String::from_utf8(made).expect("a text");
    let made = made
        .replace("V2M_CODE_", "V2M_")
        .replace("V2M_EVENT_KIND_", "V2M_EVENT_");
    let path = root.join("include/v2m.h");
    if std::env::var_os("V2M_WRITE_HEADER").is_some() {
        fs::write(&path, &made).expect("a place for it");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "{} is not of these sources: V2M_WRITE_HEADER=1 cargo test -p v2m-capi --test header",
        path.display()
    );
}
