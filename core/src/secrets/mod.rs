//! Secrets that lie elsewhere: in variables, files and the answers of programs (spec credentials §5).
//!
//! A config names them by [`SecretRef`](crate::config::SecretRef), and a [`SecretProvider`] says where
//! a reference is read. Everything about this is decided here, and nothing is read here:
//!
//! 1. A rule that needs the value of a reference asks for it as a [`WantedRef`].
//! 2. [`plan()`] turns the wanted ones into [`SecretRead`]s: one file or one run of a program each.
//! 3. The host gathers the facts that a read asks for, lets [`FileRead::judge`] or
//!    [`ProgramRun::judge`] look at them, reads or runs, and gives the outcome to `settle`, which
//!    fills [`RefValues`].
//! 4. The rule is asked again with these values.
//!
//! Whatever goes wrong is a [`RefFault`]: a reason and a next step for its owner, never a value.

mod fault;
mod file;
mod grammar;
mod plan;
mod pointer;
mod program;
mod provider;
mod trust;
mod values;

pub use fault::{FolderFault, PathFault, ProgramFault, ReadFault, RefFault};
pub use file::FileRead;
pub use grammar::{IdFault, check_reference};
pub(crate) use plan::{Bound, bind};
pub use plan::{SecretRead, plan};
pub use program::{ProgramEnd, ProgramRun};
pub use provider::{
    CommandLink, ExecProvider, FileProvider, FileShape, OutputShape, PathTrust, ProviderFault,
    SecretProvider,
};
pub(crate) use provider::{MAX_BYTES, MAX_TIMEOUT_MS};
pub use trust::{PathFacts, PathKind, Standing};
pub use values::{RefValues, WantedRef};
