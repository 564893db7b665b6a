//! The built-in handlers: `group` is always there, each other is a cargo feature of its own.

#[cfg(feature = "backup")]
pub mod backup;
#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "built-in")]
pub mod built_in;
#[cfg(feature = "cleanup")]
pub mod cleanup;
#[cfg(feature = "data-processing")]
pub mod data_processing;
#[cfg(feature = "email")]
pub mod email;
#[cfg(feature = "exec")]
pub mod exec;
#[cfg(any(feature = "backup", feature = "cleanup"))]
mod glob;
#[cfg(feature = "http-client")]
#[allow(dead_code, unused_imports, reason = "each kind needs a part of it")]
pub mod http;
#[cfg(feature = "image-process")]
pub mod image_process;
#[cfg(feature = "built-in")]
#[allow(dead_code, reason = "not every kind reads files")]
mod input_file;
#[cfg(feature = "built-in")]
mod list;
#[cfg(feature = "built-in")]
#[allow(dead_code, reason = "not every kind writes files")]
mod output_file;
#[cfg(feature = "built-in")]
#[allow(dead_code, reason = "not every kind has paths")]
mod paths;
#[cfg(feature = "report")]
pub mod report;
#[cfg(any(feature = "data-processing", feature = "report"))]
mod row_writer;
#[cfg(feature = "exec")]
pub mod secrets;
#[cfg(feature = "sleep")]
pub mod sleep;
#[cfg(feature = "email")]
mod template;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "webhook")]
pub mod webhook;
#[cfg(any(feature = "backup", feature = "report"))]
mod zone;

#[cfg(feature = "built-in")]
pub use list::BUILT_IN;
