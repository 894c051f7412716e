//! From a request to its answer, one step for each outcome.

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Invocation, NodeHost, Reply, Stage, Waiter,
    invocation::{Program, ProgramOf},
    program,
};
use crate::{
    frame::RawJson,
    node::{
        approvals::Approvals,
        command::{Builtin, Offered},
        exec_policy::{Asked, Grant, decide, effective, for_always},
        machine_facts,
        repeat::{Key, Print},
        request::Invoke,
        small_commands,
        system_run::{self, CommandLine, RunRequest, RunResult, Unusable},
        work::{Capture, Look, Looked, NodeOutcome, NodeWork, Part, RunSpec, Written},
    },
    secret::Secret,
    time::Now,
};

/// What a request needs first.
enum First {
    Answer(Reply),
    Look(Stage, Look),
    Figures,
    Run(ProgramOf, RunSpec),
}

impl From<Unusable> for Reply {
    fn from(Unusable(why): Unusable) -> Self {
        Self::Failed("INVALID_REQUEST", why)
    }
}

impl NodeHost {
    pub(super) fn begin(
        &mut self,
        now: Now,
        invoke: Invoke,
        waiter: Waiter,
        repeat: Option<(Key, Print)>,
        until: Option<Instant>,
    ) {
        let (first, until) = match self.options.commands.find(&invoke.command) {
            None => {
                let words = "command not supported".to_owned();
                let reply = Reply::Failed("UNAVAILABLE", words);
                return self.answer(&[waiter], &reply);
            }
            Some(Offered::Builtin(builtin)) => (self.first(builtin, &invoke), until),
            Some(Offered::Custom(name, command)) => {
                let own = command.timeout.map(|time| now.mono + time);
                let until = until.into_iter().chain(own).min();
                let spec = program::custom(name, command, &invoke, self.options.limits);
                let run = spec.map(|spec| First::Run(ProgramOf::Custom(name.clone()), spec));
                (run, until)
            }
        };
        let first = first.unwrap_or_else(|unusable| First::Answer(unusable.into()));
        let invocation = |stage| Invocation {
            waiters: vec![waiter.clone()],
            repeat,
            until,
            acted: false,
            stage,
        };
        match first {
            First::Answer(reply) => self.answer(&[waiter], &reply),
            First::Look(stage, look) => self.look(invocation(stage), look),
            First::Figures => {
                let job = self.next_job();
                self.invocations.insert(job, invocation(Stage::Figures));
                self.work.push_back(NodeWork::Sample(job));
            }
            First::Run(of, spec) => {
                // The stage is set by the start of the program.
                self.run(invocation(Stage::Figures), of, spec);
            }
        }
    }

    fn first(&self, builtin: Builtin, invoke: &Invoke) -> Result<First, Unusable> {
        let params = invoke.params.as_deref();
        let file_only = || Look {
            programs: Vec::new(),
            folder: None,
        };
        let of_command = |command: &CommandLine| Look {
            programs: vec![command.called().to_owned()],
            folder: command.folder.clone(),
        };
        Ok(match builtin {
            Builtin::DeviceInfo => {
                let info = machine_facts::info(&self.options.facts);
                First::Answer(Reply::Done(info.to_string()))
            }
            Builtin::DeviceStatus => First::Figures,
            Builtin::ExecApprovalsGet => First::Look(Stage::GetLook, file_only()),
            Builtin::ExecApprovalsSet => {
                let (file, base) = small_commands::set(params)?;
                First::Look(Stage::SetLook { file, base }, file_only())
            }
            Builtin::Notify => {
                let (title, body) = small_commands::notify(params)?;
                match &self.options.commands.notifier {
                    Some(notifier) => {
                        let spec = program::notification(notifier, title, body);
                        First::Run(ProgramOf::Notify, spec)
                    }
                    None => First::Answer(Reply::Failed(
                        "UNAVAILABLE",
                        "command not supported".to_owned(),
                    )),
                }
            }
            Builtin::Run => {
                let request = RunRequest::read(params, &invoke.id)?;
                let look = of_command(&request.command);
                First::Look(Stage::RunLook(Box::new(request)), look)
            }
            Builtin::RunPrepare => {
                let command = system_run::prepare(params)?;
                let look = of_command(&command);
                First::Look(Stage::PrepareLook(command), look)
            }
            Builtin::Which => {
                let names = small_commands::which(params)?;
                let look = Look {
                    programs: names.clone(),
                    folder: None,
                };
                First::Look(Stage::WhichLook(names), look)
            }
        })
    }

    fn look(&mut self, invocation: Invocation, look: Look) {
        let job = self.next_job();
        self.invocations.insert(job, invocation);
        self.work.push_back(NodeWork::Look(job, look));
    }

    fn run(&mut self, mut invocation: Invocation, of: ProgramOf, spec: RunSpec) {
        invocation.acted = true;
        invocation.stage = Stage::Program(Program { of, stop: None });
        let job = self.next_job();
        self.invocations.insert(job, invocation);
        self.work.push_back(NodeWork::Run(job, spec));
    }

    fn write(&mut self, invocation: Invocation, present: &Approvals, after: Secret) {
        let job = self.next_job();
        self.invocations.insert(job, invocation);
        self.work.push_back(NodeWork::WriteApprovals {
            job,
            before: present.text().clone(),
            after,
        });
    }

    /// Goes on with what has just ended.
    pub(super) fn step(&mut self, now: Now, mut invocation: Invocation, outcome: NodeOutcome) {
        let stage = std::mem::replace(&mut invocation.stage, Stage::Figures);
        let reply = match (stage, outcome) {
            (Stage::Figures, NodeOutcome::Sampled(sample)) => done(&machine_facts::status(&sample)),
            (Stage::GetLook, NodeOutcome::Looked(looked)) => {
                let present = Approvals::read(looked.approvals);
                done(&present.shown(&self.options.approvals_path))
            }
            (Stage::SetLook { file, base }, NodeOutcome::Looked(looked)) => {
                let present = Approvals::read(looked.approvals);
                let judged = small_commands::same_state(base.as_deref(), &present)
                    .map_err(Reply::from)
                    .and_then(|()| {
                        present
                            .replaced_by(&file)
                            .map_err(|why| Unusable(format!("INVALID_REQUEST: {why}")).into())
                    });
                match judged {
                    Ok(after) => {
                        invocation.acted = true;
                        invocation.stage = Stage::SetWrite {
                            after: after.clone(),
                        };
                        return self.write(invocation, &present, after);
                    }
                    Err(reply) => reply,
                }
            }
            (Stage::SetWrite { after }, NodeOutcome::Wrote(written)) => match written {
                Written::Done => {
                    let text = crate::node::ApprovalsText::Text(after);
                    done(&Approvals::read(text).shown(&self.options.approvals_path))
                }
                Written::Changed => {
                    let why = "INVALID_REQUEST: exec approvals changed; reload and retry";
                    Unusable(why.to_owned()).into()
                }
                Written::Failed(why) => Reply::Failed("UNAVAILABLE", why),
            },
            (Stage::PrepareLook(command), NodeOutcome::Looked(looked)) => {
                match self.prepare(&command, looked) {
                    Ok(payload) => done(&payload),
                    Err(unusable) => unusable.into(),
                }
            }
            (Stage::RunLook(request), NodeOutcome::Looked(looked)) => {
                return self.judge(now, invocation, request, looked);
            }
            (Stage::RunWrite(request, spec), NodeOutcome::Wrote(written)) => match written {
                Written::Done => return self.run(invocation, ProgramOf::Run(request), *spec),
                // Somebody changed the rules: they are asked again.
                Written::Changed => {
                    let look = Look {
                        programs: vec![request.command.called().to_owned()],
                        folder: request.command.folder.clone(),
                    };
                    invocation.stage = Stage::RunLook(request);
                    return self.look(invocation, look);
                }
                Written::Failed(_) => {
                    self.tell(
                        "exec.denied",
                        &request.denied("approval-state-write-failed"),
                    );
                    let words = "SYSTEM_RUN_DENIED: approval state could not be persisted";
                    Reply::Failed("SYSTEM_RUN_DENIED", words.to_owned())
                }
            },
            (Stage::WhichLook(names), NodeOutcome::Looked(looked)) => {
                done(&small_commands::which_found(&names, &looked))
            }
            (Stage::Program(program), outcome) => self.ended(&invocation, program, outcome),
            (_, _) => Reply::Failed("UNAVAILABLE", "node invocation failed".to_owned()),
        };
        self.finish(now, &invocation, reply);
    }

    fn prepare(&self, command: &CommandLine, looked: Looked) -> Result<Value, Unusable> {
        let Some(Some(found)) = looked.programs.first() else {
            let why = "SYSTEM_RUN_DENIED: approval requires a stable executable path";
            return Err(Unusable(why.to_owned()));
        };
        let approvals = Approvals::read(looked.approvals.clone());
        let agent = command.agent.as_deref();
        let effective = effective(self.options.commands.exec, &approvals, agent);
        let asked = Asked {
            called: command.called(),
            found,
            command_text: &command.text,
        };
        let covered_by = for_always(&asked).pattern();
        system_run::prepared(command, found, &looked, &approvals, effective, &covered_by)
    }

    /// Decides whether a program runs, and starts it.
    fn judge(
        &mut self,
        now: Now,
        mut invocation: Invocation,
        request: Box<RunRequest>,
        looked: Looked,
    ) {
        let approvals = Approvals::read(looked.approvals);
        let command = &request.command;
        let agent = command.agent.as_deref();
        let policy = self.options.commands.exec;
        let denied = |machine: &mut Self, reason: &str, reply: Reply| {
            machine.tell("exec.denied", &request.denied(reason));
            machine.finish(now, &invocation, reply);
        };
        let found = looked.programs.into_iter().next().flatten();
        // What is not there is judged as well, so that a refusal comes first.
        let nowhere = || crate::node::Found {
            path: String::new(),
            real: String::new(),
        };
        let place = found.clone().unwrap_or_else(nowhere);
        let asked = Asked {
            called: command.called(),
            found: &place,
            command_text: &command.text,
        };
        if let Err(why) = decide(policy, &approvals, agent, &asked, request.grant) {
            let (code, words) = system_run::refusal(why);
            return denied(self, why.reason(), Reply::Failed(code, words));
        }
        if request.needs_screen() {
            let words = "PERMISSION_MISSING: screenRecording".to_owned();
            let reply = Reply::Failed("SYSTEM_RUN_DENIED", words);
            return denied(self, "permission:screenRecording", reply);
        }
        let stale = |snapshot: &Value| !approvals.is_current(agent, snapshot);
        let approved = matches!(request.grant, Grant::Once | Grant::Always);
        if approved && request.snapshot.as_ref().is_some_and(stale) {
            let words = "SYSTEM_RUN_DENIED: exec approval policy changed; request approval again";
            let reply = Reply::Failed("SYSTEM_RUN_DENIED", words.to_owned());
            return denied(self, "approval-required", reply);
        }
        let (found, folder) = match (found, looked.folder) {
            (Some(found), Ok(folder)) => (found, folder),
            (None, _) => {
                let why = format!("program not found: {}", command.called());
                return self.not_run(now, &invocation, &request, why);
            }
            (Some(_), Err(why)) => return self.not_run(now, &invocation, &request, why),
        };
        let keep = Capture {
            limit: self.options.limits.max_output,
            part: Part::Head,
        };
        let spec = RunSpec {
            program: PathBuf::from(&found.path),
            args: command.argv.iter().skip(1).cloned().collect(),
            folder: Some(PathBuf::from(folder)),
            env: request.env.clone(),
            stdin: Bytes::new(),
            stdout: keep,
            stderr: keep,
        };
        let own = request.time.map(|time| now.mono + time);
        invocation.until = invocation.until.into_iter().chain(own).min();
        let rule = (request.grant == Grant::Always)
            .then(|| approvals.with_rule(agent, &for_always(&asked), &command.text, now.wall))
            .flatten();
        match rule {
            None => self.run(invocation, ProgramOf::Run(request), spec),
            Some(Ok(after)) => {
                invocation.stage = Stage::RunWrite(request, Box::new(spec));
                self.write(invocation, &approvals, after);
            }
            Some(Err(_)) => {
                self.tell(
                    "exec.denied",
                    &request.denied("approval-state-write-failed"),
                );
                let words = "SYSTEM_RUN_DENIED: approval state could not be persisted";
                let reply = Reply::Failed("SYSTEM_RUN_DENIED", words.to_owned());
                self.finish(now, &invocation, reply);
            }
        }
    }

    fn not_run(&mut self, now: Now, invocation: &Invocation, request: &RunRequest, why: String) {
        let result = RunResult::not_started(why);
        self.tell("exec.finished", &request.finished(&result));
        self.finish(now, invocation, done(&result.payload()));
    }

    /// What a program that has ended means.
    fn ended(&mut self, invocation: &Invocation, program: Program, outcome: NodeOutcome) -> Reply {
        let Program { of, stop } = program;
        match of {
            ProgramOf::Custom(name) => program::custom_reply(&name, stop, outcome),
            ProgramOf::Notify => program::notify_reply(stop, outcome),
            ProgramOf::Run(request) => {
                let Some(result) = program::run_result(stop, outcome) else {
                    return program::cancelled();
                };
                if !invocation.waiters.is_empty() {
                    self.tell("exec.finished", &request.finished(&result));
                }
                done(&result.payload())
            }
        }
    }
}

fn done(payload: &Value) -> Reply {
    Reply::Done(payload.to_string())
}

/// Parameters as a program reads them.
pub(super) fn params_text(invoke: &Invoke) -> Result<Bytes, Unusable> {
    let text = invoke
        .params
        .clone()
        .unwrap_or_else(|| json!(null).to_string());
    if RawJson::checked(text.clone()).is_err() {
        return Err(Unusable(
            "INVALID_REQUEST: paramsJSON malformed JSON".to_owned(),
        ));
    }
    Ok(Bytes::from(text))
}
