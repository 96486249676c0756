//! The demo site is compiled in: a new file of it is a reason to compile again.

fn main() {
    println!("cargo:rerun-if-changed=site");
}
