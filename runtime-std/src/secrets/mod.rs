//! Reads files and runs programs for secret references. What to read, whether it may be read, and what
//! it means is decided by [`clawgate_core::secrets`]; this carries facts in and bytes back.

use clawgate_core::config::{EnvVars, SecretsConfig};
use clawgate_core::secrets::{RefValues, SecretRead, WantedRef, plan};

#[cfg(unix)]
pub(crate) use facts::standing;

mod facts;
#[cfg(unix)]
mod file;
#[cfg(unix)]
mod program;

/// Reads what is wanted into `values`. It blocks for as long as the slowest provider takes, which its
/// `timeoutMs` bounds: providers are read side by side.
pub fn read_secrets(
    wanted: &[WantedRef],
    secrets: &SecretsConfig,
    env: &EnvVars,
    values: &mut RefValues,
) {
    let reads = plan(wanted, secrets, env, values);
    carry_out(&reads, values);
}

#[cfg(unix)]
fn carry_out(reads: &[SecretRead], values: &mut RefValues) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = reads
            .iter()
            .map(|read| {
                scope.spawn(move || {
                    let mut values = RefValues::new();
                    match read {
                        SecretRead::File(read) => file::read(read, &mut values),
                        SecretRead::Program(run) => {
                            run.settle(program::run(run), &mut values);
                        }
                    }
                    values
                })
            })
            .collect();
        for run in runs {
            // A thread that failed has read nothing: its references stay unread, and fail closed.
            if let Ok(read) = run.join() {
                values.extend(read);
            }
        }
    });
}

/// Owners and permissions are not told here, so nothing is read.
#[cfg(not(unix))]
fn carry_out(reads: &[SecretRead], values: &mut RefValues) {
    use clawgate_core::secrets::PathFault;
    for read in reads {
        match read {
            SecretRead::File(read) => {
                read.settle(Err(read.path_fault(PathFault::Unverifiable)), values);
            }
            SecretRead::Program(run) => {
                run.settle(Err(run.path_fault(PathFault::Unverifiable)), values);
            }
        }
    }
}
