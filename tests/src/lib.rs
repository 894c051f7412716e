//! Conformance runner and helpers of the end-to-end tests.

#![expect(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]

pub mod command_line;
pub mod conformance;
pub mod deadline;
pub mod dice;
pub mod failure;
pub mod fuzz;
pub mod gate;
pub mod gateway_process;
pub mod model_endpoint;
pub mod node_process;
pub mod openmetrics;
pub mod raw_client;
pub mod reference_client;
pub mod schema;
pub mod signer;
#[cfg(unix)]
pub mod ssh_server;
