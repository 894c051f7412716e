//! One run of the built-in agent.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::command::{Command, Invoke};
use super::find::find;
use super::reply;
use super::rule::Rule;
use super::template::{Names, NotANumber};
use crate::agent::{RunRequest, ToolCall, ToolError};
use crate::frame::RawJson;
use crate::ids::ToolCallId;

/// What comes of an input.
#[derive(Debug)]
pub(super) enum Step {
    Call(Vec<ToolCall>),
    Wait,
    Reply(String),
}

#[derive(Debug)]
pub(super) struct Run {
    deadline: Instant,
    work: Work,
    /// Calls under way: what they are and whose result they give.
    open: BTreeMap<ToolCallId, Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    node: String,
    command: String,
}

#[derive(Debug)]
enum Work {
    /// One call; its result is the reply.
    Invoke,
    Rule(Box<Following>),
}

/// A rule that is being followed.
#[derive(Debug)]
struct Following {
    request: RunRequest,
    rule: Rule,
    names: Names,
    started: usize,
    /// The first call that failed, with its node and command.
    failed: Option<(String, String, ToolError)>,
}

impl Run {
    pub(super) fn start(now: Instant, request: RunRequest, rules: &[Rule]) -> (Self, Step) {
        let mut run = Self {
            deadline: request.deadline(now),
            work: Work::Invoke,
            open: BTreeMap::new(),
        };
        let step = match Command::parse(&request.message) {
            Some(Command::Help) => Step::Reply(reply::help(rules)),
            Some(Command::Status) => Step::Reply(reply::status(&request, rules)),
            Some(Command::Nodes) => Step::Reply(reply::nodes(&request.tools)),
            Some(Command::Echo(text)) => Step::Reply(text),
            Some(Command::Malformed(why)) => Step::Reply(why),
            Some(Command::Invoke(invoke)) => run.invoke(&request, invoke),
            Some(Command::Unknown(name)) => run
                .follow(request, rules)
                .unwrap_or_else(|_| Step::Reply(reply::unknown_command(&name))),
            None => run.follow(request, rules).unwrap_or_else(|request| {
                let files = request.attachments.len();
                Step::Reply(reply::not_understood(&request.message, files))
            }),
        };
        (run, step)
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    fn invoke(&mut self, request: &RunRequest, invoke: Invoke) -> Step {
        match find(&request.tools, &invoke.node, &invoke.command) {
            Err(why) => Step::Reply(why),
            Ok(tool) => {
                let (name, number) = ("result".to_owned(), 1);
                let node = (tool.node_id.clone(), tool.node_name.clone());
                Step::Call(vec![self.call(
                    number,
                    name,
                    node,
                    invoke.command,
                    invoke.params,
                )])
            }
        }
    }

    fn call(
        &mut self,
        number: usize,
        name: String,
        (node_id, node): (String, String),
        command: String,
        params: RawJson,
    ) -> ToolCall {
        let id = ToolCallId::new(format!("call-{number}"));
        let open = Open {
            name,
            node,
            command: command.clone(),
        };
        self.open.insert(id.clone(), open);
        ToolCall {
            id,
            node: node_id,
            command,
            params,
        }
    }

    /// Follows the first rule that fits, or gives the request back.
    fn follow(&mut self, request: RunRequest, rules: &[Rule]) -> Result<Step, Box<RunRequest>> {
        let fit = rules.iter().find_map(|rule| {
            let kept = rule
                .patterns
                .iter()
                .find_map(|pattern| pattern.matches(&request.message))?;
            Some((rule, kept))
        });
        let Some((rule, kept)) = fit else {
            return Err(Box::new(request));
        };
        let text = |(name, text)| (name, Value::String(text));
        Ok(self.go_on(Following {
            request,
            rule: rule.clone(),
            names: kept.into_iter().map(text).collect(),
            started: 0,
            failed: None,
        }))
    }

    /// Starts every call that has what it needs, in the order of the rule; with nothing left to do,
    /// replies.
    fn go_on(&mut self, mut following: Following) -> Step {
        let mut calls = Vec::new();
        while following.failed.is_none() {
            let Some(call) = following.rule.calls.get(following.started) else {
                break;
            };
            if !call
                .needs
                .iter()
                .all(|need| following.names.contains_key(need))
            {
                break;
            }
            let (node, command) = (
                call.node.fill(&following.names),
                call.command.fill(&following.names),
            );
            let params = match call.params.fill(&following.names) {
                Ok(params) => RawJson::encode(&params).unwrap_or_else(|_| RawJson::empty_object()),
                Err(NotANumber(name)) => {
                    let error = local("INVALID_PARAMS", reply::not_a_number(&name));
                    following.failed = Some((node, command, error));
                    break;
                }
            };
            let node = match find(&following.request.tools, &node, &command) {
                Ok(tool) => (tool.node_id.clone(), tool.node_name.clone()),
                Err(why) => {
                    following.failed = Some((node, command, local("NOT_AVAILABLE", why)));
                    break;
                }
            };
            following.started += 1;
            calls.push(self.call(following.started, call.name.clone(), node, command, params));
        }
        if calls.is_empty() && self.open.is_empty() {
            return Step::Reply(following.reply());
        }
        self.work = Work::Rule(Box::new(following));
        if calls.is_empty() {
            Step::Wait
        } else {
            Step::Call(calls)
        }
    }

    pub(super) fn tool_done(
        &mut self,
        id: &ToolCallId,
        outcome: Result<RawJson, ToolError>,
    ) -> Step {
        // Results that come twice or for nothing say nothing.
        let Some(open) = self.open.remove(id) else {
            return Step::Wait;
        };
        let outcome = outcome.map(|json| json.parse::<Value>().unwrap_or(Value::Null));
        match std::mem::replace(&mut self.work, Work::Invoke) {
            Work::Invoke => Step::Reply(match outcome {
                Ok(value) => reply::result(&value),
                Err(error) => reply::failed(&open.node, &open.command, &error),
            }),
            Work::Rule(mut following) => {
                match outcome {
                    Ok(value) => {
                        following.names.insert(open.name, value);
                    }
                    Err(error) => {
                        let failed = (open.node, open.command, error);
                        following.failed.get_or_insert(failed);
                    }
                }
                self.go_on(*following)
            }
        }
    }
}

fn local(code: &str, message: String) -> ToolError {
    ToolError {
        code: code.to_owned(),
        message,
    }
}

impl Following {
    fn reply(mut self) -> String {
        let Some((node, command, error)) = self.failed.take() else {
            return match &self.rule.reply {
                Some(template) => template.fill(&self.names),
                None => {
                    let results = self.rule.calls.iter();
                    let results = results.filter_map(|call| self.names.get(&call.name));
                    results.map(reply::result).collect::<Vec<_>>().join("\n")
                }
            };
        };
        match &self.rule.error {
            None if error.code == "NOT_AVAILABLE" || error.code == "INVALID_PARAMS" => {
                error.message
            }
            None => reply::failed(&node, &command, &error),
            Some(template) => {
                let about = json!({
                    "node": node, "command": command,
                    "code": error.code, "message": error.message,
                });
                self.names.insert("error".to_owned(), about);
                template.fill(&self.names)
            }
        }
    }
}
