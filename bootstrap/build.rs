//! How the static program is linked.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script its target in the environment")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Every new instance downloads it. Its relative relocations, packed, are a tenth of the size; musl unpacks them since
    // 1.2.4. Not with glibc: that asks for 2.36, and the agent's hosts have less.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|environment| environment == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
