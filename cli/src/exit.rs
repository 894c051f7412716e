//! What the exit codes mean. This table is the one in `--help`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything that was asked for was done.
    Ok,
    /// A check did not pass, or this machine failed.
    Failed,
    /// The arguments are wrong.
    Usage,
    /// No gateway answers there.
    Unreachable,
    /// The gateway does not let this client do it, or there is no credential to send.
    Unauthorised,
    /// No answer in time.
    TimedOut,
    /// The gateway answered with an error.
    Refused,
    /// The gateway shows another certificate than the pinned one.
    WrongCertificate,
    /// The configuration cannot be used.
    Configuration,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Exit {
    #[cfg(test)]
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Unreachable,
        Self::Unauthorised,
        Self::TimedOut,
        Self::Refused,
        Self::WrongCertificate,
        Self::Configuration,
        Self::Interrupted,
    ];

    /// The number for the shell. 78 is `EX_CONFIG`: service managers do not restart on it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Unauthorised => 4,
            Self::TimedOut => 5,
            Self::Refused => 6,
            Self::WrongCertificate => 7,
            Self::Configuration => 78,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  ok
   1  a check did not pass (a refused URL, a key that is not set, a gateway that
      says that it is not well), or this machine failed
   2  usage: the arguments are wrong
   3  unreachable: no gateway answers there
   4  unauthorised: the gateway does not let this client do it, this device waits
      for an approval, or there is no credential to send
   5  timed out
   6  refused: the gateway answered the call with an error, or the run of an agent
      failed or was stopped
   7  certificate: it is not the pinned one, or a known SSH host has another key;
      nothing was sent
  78  configuration: the config file cannot be used
 130  interrupted: Ctrl-C";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code() {
        for exit in Exit::ALL {
            let start = format!("{:>4}  ", exit.code());
            assert!(
                TABLE.lines().any(|line| line.starts_with(&start)),
                "{exit:?}"
            );
        }
    }
}
