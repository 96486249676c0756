//! Settings in layers: a flag beats an environment variable beats a TOML file beats the default.
//!
//! A program declares its settings as a table of [`Setting`]s, [resolves](Program::resolve) them, and takes typed values out with
//! a [`Take`], which gathers whatever is wrong, in all layers, into one [`Stop`]. Nothing here touches the process save
//! [`Program::from_process`], [`Stop::report`] and the log.
//!
//! A secret `X` may come out of a file: a setting called `X-file` beside it in the table names that file, and `X` is what it
//! holds. `--print-config` has [`Take::finish`] say what is in force.
//!
//! ```
//! use std::{io, net::IpAddr, path::Path};
//! use weever_settings::{Program, Setting};
//!
//! const SETTINGS: &[Setting] = &[
//!     Setting { name: "port", value: "PORT", default: Some("8443"), help: "Public port.", group: "Public HTTP", secret: false },
//!     Setting { name: "public-ip", value: "ADDR[,ADDR…]", default: None, help: "Addresses behind a NAT.", group: "Media", secret: false },
//!     Setting { name: "auth", value: "", default: None, help: "Ask for tokens.", group: "Public HTTP", secret: false },
//! ];
//! let program = Program { name: "demo", version: "1.0.0", about: "Shows settings.", examples: &[], tables: &[SETTINGS] };
//! let no_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
//! let resolved = program.resolve(&["--port=9000".to_owned(), "--auth".to_owned()], |_| None, no_file)?;
//! let mut take = resolved.take();
//! let port: u16 = take.parse("port");
//! let addresses: Vec<IpAddr> = take.list("public-ip");
//! let auth = take.switch("auth");
//! take.finish()?;
//! assert_eq!((port, addresses.len(), auth), (9000, 0, true));
//! # Ok::<(), weever_settings::Stop>(())
//! ```

mod file;
mod flags;
mod help;
mod log;
mod print;
mod resolve;
mod secrets;
mod setting;
mod sink;
mod stop;
mod take;

pub use log::{LOG_FORMAT, LogFormat, log_to_stderr};
pub use resolve::Resolved;
pub use setting::{Program, Setting};
pub use sink::flush_log;
pub use stop::{SettingError, Source, Stop};
pub use take::Take;

/// Bytes of a settings file beyond which it is not read as one.
pub const MAX_FILE: usize = 1 << 20;
