//! Compiles `schema/ipc.proto` to Rust without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema/ipc.proto");
    let descriptors = protox::compile(["schema/ipc.proto"], ["schema"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
