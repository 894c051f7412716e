//! The command that looks for what is wrong, as it is typed.

use clap::Args;
use clawgate_core::policy::audit::Severity;

use crate::args::{TargetArgs, severity};

pub(crate) const DOCTOR: &str = "\
Looks at the config, references to secrets, sources that hide others, exposure and files, programs,
clocks, ports, the state folder, versions, and at each step of the way to the gateway. No secret is
shown. Each finding has a stable code, what is wrong, and what to do.

--fix takes files from other users, and removes what processes that are gone left behind; nothing
else. The exit code is 1 when there are findings of --level or graver ones, and 0 otherwise.

Examples:
  clawgate doctor
  clawgate doctor --fix
  clawgate doctor --url wss://gw.example.com --token-file token.txt --json";

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Repair what is safe to repair, and say what was done
    #[arg(long)]
    pub(crate) fix: bool,
    /// Exit with 1 on findings of this severity or a graver one: info, warn or critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity, default_value = "warn")]
    pub(crate) level: Severity,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}
