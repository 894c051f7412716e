//! One module for each command.

mod agent;
mod approvals;
mod auth;
mod backup;
mod call;
mod channels;
mod chat;
mod completion;
mod config;
mod contexts;
mod demo;
mod devices;
mod discover;
mod doctor;
mod gateway_service;
mod gateway_status;
mod health;
mod logs;
mod node;
mod nodes;
mod open;
mod page;
mod pins;
mod probe;
mod remote;
mod run;
mod secrets;
mod security;
mod sessions;
mod status;
mod support;
mod top;
mod tunnel;
mod url;
mod voice;

use crate::args::{AuthCommand, Cli, Command, UrlCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::gateway_args::GatewayCommand;
use crate::node_args::NodeCommand;
use crate::output::Format;
use crate::target::TargetFlags;

/// Does what the command line asks for.
///
/// # Errors
/// When that does not succeed. Commands whose result says so themselves give its exit code instead.
pub(crate) fn dispatch(cli: Cli, format: Format) -> Result<Exit, Failure> {
    let Cli { instance, command } = cli;
    let context = || Context::read(&instance, format);
    match command {
        Command::Approvals(command) => approvals::run(command, &context()?),
        Command::Agent(args) => agent::run(*args, &context()?),
        Command::Auth(AuthCommand::Explain(args)) => {
            let flags = TargetFlags::read(args.target)?;
            auth::explain(args.surface.into(), &flags, &context()?)
        }
        Command::Backup(args) => backup::run(args, &context()?),
        Command::Channels(command) => channels::run(command, &context()?),
        Command::Chat(args) => chat::run(*args, &context()?),
        Command::Completion { shell } => completion::print(shell),
        Command::Config(command) => config::run(command, &context()?),
        Command::Context(command) => contexts::run(command, &context()?),
        Command::Demo { telegram } => demo::run(telegram, format),
        Command::DemoGreet => demo::greet(),
        Command::Devices(command) => devices::run(command, &context()?),
        Command::Doctor(args) => doctor::run(*args, &context()?),
        Command::Discover(args) => discover::run(&args, format),
        Command::Gateway(GatewayCommand::Call(args)) => call::run(args, &context()?),
        Command::Gateway(GatewayCommand::Health(args)) | Command::Health(args) => {
            health::run(&TargetFlags::read(args)?, &context()?)
        }
        Command::Gateway(GatewayCommand::Probe(args)) => {
            let ssh = args.through();
            probe::run(&TargetFlags::read(args.target)?, ssh, &context()?)
        }
        Command::Gateway(GatewayCommand::Top(args)) => top::run(args, &context()?),
        Command::Gateway(GatewayCommand::Run(args)) => run::run(args, context()?),
        Command::Gateway(GatewayCommand::Install(args)) => {
            gateway_service::install(&args, &context()?)
        }
        Command::Gateway(GatewayCommand::Uninstall(args)) => {
            gateway_service::uninstall(args, &context()?)
        }
        Command::Gateway(GatewayCommand::Start(args)) => gateway_service::start(args, &context()?),
        Command::Gateway(GatewayCommand::Stop(args)) => gateway_service::stop(args, &context()?),
        Command::Gateway(GatewayCommand::Restart(args)) => {
            gateway_service::restart(args, &context()?)
        }
        Command::Gateway(GatewayCommand::Status(args)) => {
            gateway_status::run(&TargetFlags::read(args)?, &context()?)
        }
        Command::Logs(args) => logs::run(args, &context()?),
        Command::Messages(command) => channels::messages(command, &context()?),
        Command::Node(NodeCommand::Run(args)) => node::run(*args, &context()?),
        Command::Nodes(command) => nodes::run(command, &context()?),
        Command::Pairing(command) => channels::pairing(command, &context()?),
        Command::Pins(command) => pins::run(command, &context()?),
        Command::Remote(command) => remote::run(command, &context()?),
        Command::Secrets(command) => secrets::run(command, &context()?),
        Command::Security(command) => security::run(command, &context()?),
        Command::Send(args) => channels::send(*args, &context()?),
        Command::Sessions(command) => sessions::run(*command, &context()?),
        Command::Status(args) => status::run(args, &context()?),
        Command::Open(args) => open::run(args, &context()?),
        Command::Voice(args) => voice::run(args, &context()?),
        Command::Support(command) => support::run(command, &context()?),
        Command::Tunnel(command) => tunnel::run(command, context),
        Command::Url(UrlCommand::Check { urls }) => url::check(&urls, format),
    }
}
