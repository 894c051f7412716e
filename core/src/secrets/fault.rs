//! Why a reference has no value, and what its owner can do. Never a value, and never what a program
//! wrote: that may hold one.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::grammar::IdFault;
use super::provider::ProviderFault;

/// Why a reference has no value. [`fmt::Display`] gives the reason as a clause, as in "which could
/// not be read: …"; [`RefFault::next_step`] says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefFault {
    /// An object with a `source` and no usable rest.
    Incomplete,
    /// Its names are outside the grammar.
    Id(IdFault),
    /// `secrets.providers` has no such entry.
    NoProvider {
        /// The name.
        provider: String,
    },
    /// The provider reads from another source than the reference says.
    OtherSource {
        /// The provider.
        provider: String,
        /// Its source.
        source: &'static str,
    },
    /// The entry in `secrets.providers` cannot be used.
    Provider {
        /// Its name.
        provider: String,
        /// What is wrong with it.
        fault: ProviderFault,
    },
    /// A source that clawgate does not read.
    NotImplemented {
        /// Its name.
        source: String,
    },
    /// The provider's `allowlist` leaves the variable out.
    NotAllowed {
        /// The provider.
        provider: String,
    },
    /// The variable is missing or blank.
    VariableUnset {
        /// Its name.
        name: String,
    },
    /// A file or program that must not be used.
    Path {
        /// Which one.
        path: PathBuf,
        /// Why not.
        fault: PathFault,
    },
    /// What was read is not what a file of secrets holds.
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: ReadFault,
    },
    /// The program gave no value.
    Program {
        /// Which one.
        path: PathBuf,
        /// What it did.
        fault: ProgramFault,
    },
    /// The value is empty.
    Blank,
    /// Nobody has read it here.
    NotRead,
}

/// Why a path must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// Its place depends on the working folder.
    NotAbsolute,
    /// It begins with `~`, and there is no home folder.
    NoHome,
    /// There is nothing.
    Missing,
    /// A symbolic link.
    Link,
    /// A folder, a pipe, a socket.
    NotAFile,
    /// The file has other names, whose folders were not looked at.
    SeveralNames,
    /// It belongs to somebody else.
    ForeignOwner {
        /// The owner's number.
        owner: u32,
    },
    /// Others may read or write a file of secrets.
    OpenToOthers {
        /// Its permission bits.
        mode: u32,
    },
    /// Others may write a program.
    WritableByOthers {
        /// Its permission bits.
        mode: u32,
    },
    /// Others may put something else in its place.
    Folder(PathBuf, FolderFault),
    /// A program outside `trustedDirs`.
    OutsideTrustedFolders,
    /// This system does not say who owns it.
    Unverifiable,
    /// The system refused.
    System(io::ErrorKind),
}

/// What is wrong with a folder above a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderFault {
    /// It belongs to somebody else.
    ForeignOwner,
    /// Everybody may write to it.
    OpenToOthers,
}

/// What is wrong with the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// Longer than `maxBytes`.
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not read within `timeoutMs`.
    Late {
        /// The limit.
        limit: Duration,
    },
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    NotJson,
    /// JSON, but no object.
    NotAnObject,
    /// Nothing at the pointer.
    NothingThere,
    /// Something other than a string at the pointer.
    NotText,
    /// A pointer into a file that is one value.
    PointerIntoValue,
    /// `value` of a file that is JSON.
    ValueOfJson,
}

/// What a program did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramFault {
    /// It could not be started.
    NotStarted(io::ErrorKind),
    /// It ran longer than `timeoutMs`.
    Late {
        /// The limit.
        limit: Duration,
    },
    /// It wrote nothing for `noOutputTimeoutMs`.
    Silent {
        /// The limit.
        limit: Duration,
    },
    /// It wrote more than `maxOutputBytes`.
    TooMuchOutput {
        /// The limit in bytes.
        limit: u64,
    },
    /// It ended with this code, or was killed.
    Failed {
        /// The exit code, unless a signal ended it.
        code: Option<i32>,
    },
    /// It wrote nothing.
    NoOutput,
    /// It wrote something other than UTF-8.
    NotUtf8,
    /// It wrote something other than JSON.
    NotJson,
    /// It wrote JSON that is no answer of protocol 1.
    NotAnAnswer,
    /// Its answer says nothing about the id.
    NoSuchId,
    /// Its answer says that there is no such secret.
    NotFound,
    /// Its answer says that the id stands for several secrets.
    Ambiguous,
    /// Its answer refuses the id for another reason.
    Refused,
    /// Its value for the id is no string.
    NotText,
}

impl fmt::Display for RefFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the reference has no source or no id"),
            Self::Id(fault) => fault.fmt(f),
            Self::NoProvider { provider } => {
                write!(f, "secrets.providers.{provider} does not exist")
            }
            Self::OtherSource { provider, source } => {
                write!(f, "secrets.providers.{provider} has the source {source}")
            }
            Self::Provider { provider, fault } => {
                write!(f, "secrets.providers.{provider}{fault}")
            }
            Self::NotImplemented { source } => {
                write!(f, "the source {source} is not implemented")
            }
            Self::NotAllowed { provider } => {
                write!(f, "secrets.providers.{provider}.allowlist leaves it out")
            }
            Self::VariableUnset { name } => write!(f, "{name} is not set, or blank"),
            Self::Path { path, fault } => write!(f, "{} {fault}", path.display()),
            Self::Read { path, fault } => write!(f, "{} {fault}", path.display()),
            Self::Program { path, fault } => write!(f, "{} {fault}", path.display()),
            Self::Blank => f.write_str("its value is empty"),
            Self::NotRead => f.write_str("it was not read here"),
        }
    }
}

impl RefFault {
    /// What to do next: a sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::Incomplete => {
                "Write it as {source, provider, id} with source env, file or exec.".to_owned()
            }
            Self::Id(_) => "Correct the reference.".to_owned(),
            Self::NoProvider { provider } => {
                format!("Add secrets.providers.{provider}, or correct the reference's provider.")
            }
            Self::OtherSource { .. } => "Name a provider of the reference's source.".to_owned(),
            Self::Provider { provider, fault } => {
                format!("Correct secrets.providers.{provider}{}.", fault.key())
            }
            Self::NotImplemented { .. } => "Use a reference to a variable (env), a file (file) or \
                 a program (exec)."
                .to_owned(),
            Self::NotAllowed { provider } => {
                format!("Add the variable to secrets.providers.{provider}.allowlist.")
            }
            Self::VariableUnset { name } => format!("Set {name}."),
            Self::Path { path, fault } => fault.next_step(path.display()),
            Self::Read { fault, .. } => fault.next_step().to_owned(),
            Self::Program { fault, .. } => fault.next_step().to_owned(),
            Self::Blank => "Put the secret there.".to_owned(),
            Self::NotRead => "Use a command that reads references.".to_owned(),
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute => f.write_str("is not an absolute path"),
            Self::NoHome => f.write_str("begins with ~, and there is no home folder"),
            Self::Missing => f.write_str("does not exist"),
            Self::Link => f.write_str("is a symbolic link"),
            Self::NotAFile => f.write_str("is not a file"),
            Self::SeveralNames => f.write_str("is a file with several names (hard links)"),
            Self::ForeignOwner { owner } => write!(f, "belongs to another user ({owner})"),
            Self::OpenToOthers { mode } => write!(f, "is open to others (mode {mode:04o})"),
            Self::WritableByOthers { mode } => {
                write!(f, "can be written by others (mode {mode:04o})")
            }
            Self::Folder(folder, fault) => {
                let fault = match fault {
                    FolderFault::ForeignOwner => "belongs to another user",
                    FolderFault::OpenToOthers => "can be written by everybody",
                };
                write!(f, "lies in {}, which {fault}", folder.display())
            }
            Self::OutsideTrustedFolders => f.write_str("lies outside the provider's trustedDirs"),
            Self::Unverifiable => f.write_str("has an owner that this system does not tell"),
            Self::System(kind) => write!(f, "cannot be read: {kind}"),
        }
    }
}

impl PathFault {
    fn next_step(&self, path: impl fmt::Display) -> String {
        match self {
            Self::NotAbsolute => "Write the whole path.".to_owned(),
            Self::NoHome => "Set HOME, or write the whole path.".to_owned(),
            Self::Missing => "Create it, or correct the provider's path.".to_owned(),
            Self::Link => format!("Name the file itself: `realpath {path}` shows it."),
            Self::NotAFile => "Name a file.".to_owned(),
            Self::SeveralNames => "Copy it to a new file and put that in its place.".to_owned(),
            Self::ForeignOwner { .. } => {
                "Give it to the user that clawgate runs as (chown).".to_owned()
            }
            Self::OpenToOthers { .. } => format!("Close it with `chmod 600 {path}`."),
            Self::WritableByOthers { .. } => format!("Close it with `chmod go-w {path}`."),
            Self::Folder(folder, FolderFault::OpenToOthers) => {
                format!("Close the folder with `chmod o-w {}`.", folder.display())
            }
            Self::Folder(_, FolderFault::ForeignOwner) => {
                "Move it to a folder of the user that clawgate runs as.".to_owned()
            }
            Self::OutsideTrustedFolders => {
                "Move the program, or add its folder to trustedDirs.".to_owned()
            }
            Self::Unverifiable => "Use a variable (source env) on this system.".to_owned(),
            Self::System(_) => "Check its permissions.".to_owned(),
        }
    }
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "is longer than {limit} bytes"),
            Self::Late { limit } => write!(f, "was not read within {} ms", limit.as_millis()),
            Self::NotUtf8 => f.write_str("is not text in UTF-8"),
            Self::NotJson => f.write_str("is not JSON"),
            Self::NotAnObject => f.write_str("does not hold one JSON object"),
            Self::NothingThere => f.write_str("has nothing at this pointer"),
            Self::NotText => f.write_str("has no string at this pointer"),
            Self::PointerIntoValue => f.write_str("is one single value, whose id is \"value\""),
            Self::ValueOfJson => f.write_str("is JSON, whose ids are pointers such as /token"),
        }
    }
}

impl ReadFault {
    const fn next_step(self) -> &'static str {
        match self {
            Self::TooLong { .. } => {
                "Check that this is the file, or raise the provider's maxBytes."
            }
            Self::Late { .. } => "Check the disk, or raise the provider's timeoutMs.",
            Self::NotUtf8 => "Write the file as UTF-8.",
            Self::NotJson | Self::NotAnObject => {
                "Correct the file, or set the provider's mode to \"singleValue\"."
            }
            Self::NothingThere | Self::NotText => "Correct the file or the reference's id.",
            Self::PointerIntoValue => {
                "Set the reference's id to \"value\", or the provider's mode to \"json\"."
            }
            Self::ValueOfJson => {
                "Set the reference's id to a pointer, or the provider's mode to \"singleValue\"."
            }
        }
    }
}

impl fmt::Display for ProgramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(kind) => write!(f, "could not be started: {kind}"),
            Self::Late { limit } => {
                write!(
                    f,
                    "did not end within {} ms and was stopped",
                    limit.as_millis()
                )
            }
            Self::Silent { limit } => {
                write!(
                    f,
                    "wrote nothing for {} ms and was stopped",
                    limit.as_millis()
                )
            }
            Self::TooMuchOutput { limit } => {
                write!(f, "wrote more than {limit} bytes and was stopped")
            }
            Self::Failed { code: Some(code) } => write!(f, "ended with exit code {code}"),
            Self::Failed { code: None } => f.write_str("was ended by a signal"),
            Self::NoOutput => f.write_str("wrote nothing"),
            Self::NotUtf8 => f.write_str("wrote something other than UTF-8"),
            Self::NotJson => f.write_str("wrote something other than JSON"),
            Self::NotAnAnswer => f.write_str("wrote no answer of protocol version 1"),
            Self::NoSuchId => f.write_str("gave no value for this id"),
            Self::NotFound => f.write_str("knows no such id (NOT_FOUND)"),
            Self::Ambiguous => {
                f.write_str("knows several secrets of this id (AMBIGUOUS_DUPLICATE_KEY)")
            }
            Self::Refused => f.write_str("refused this id"),
            Self::NotText => f.write_str("gave a value that is no string"),
        }
    }
}

impl ProgramFault {
    const fn next_step(self) -> &'static str {
        match self {
            Self::NotStarted(_) => "Check that the provider's command runs on this machine.",
            Self::Late { .. } => "Check the program, or raise the provider's timeoutMs.",
            Self::Silent { .. } => "Check the program, or raise the provider's noOutputTimeoutMs.",
            Self::TooMuchOutput { .. } => {
                "Check the program, or raise the provider's maxOutputBytes."
            }
            Self::Failed { .. } | Self::NoOutput | Self::NotUtf8 => {
                "Run the program by hand. It gets only the variables of the provider's passEnv and \
                 env."
            }
            Self::NotJson | Self::NotAnAnswer => {
                "Let the program answer {\"protocolVersion\": 1, \"values\": {…}}, or set the \
                 provider's jsonOnly to false."
            }
            Self::NoSuchId | Self::NotFound | Self::Ambiguous | Self::Refused => {
                "Correct the reference's id, or add the secret where the program looks."
            }
            Self::NotText => "Let the program give a string for this id.",
        }
    }
}
