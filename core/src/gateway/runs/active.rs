//! What a run under way has in memory.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    agent::{Attachment, JobNo},
    frame::RawJson,
    gateway::sessions::SessionKey,
    ids::{ApprovalId, EffectId, InvokeId, ToolCallId},
};

/// A run under way.
#[derive(Debug)]
pub(super) struct ActiveRun {
    pub(super) key: SessionKey,
    pub(super) agent_id: String,
    /// When it has to be over.
    pub(super) deadline: Instant,
    /// The reply so far.
    pub(super) text: String,
    /// How much of it clients have been told.
    pub(super) told: Told,
    /// Numbers of its `agent` and `chat` events.
    pub(super) agent_seq: u64,
    pub(super) chat_seq: u64,
    /// What is to be answered, until the agent has it.
    pub(super) message: Input,
    /// How often it was begun again.
    pub(super) repeats: u32,
    /// The question for what was said before.
    pub(super) reading: Option<EffectId>,
    pub(super) jobs: BTreeMap<JobNo, EffectId>,
    /// Its calls of nodes that are under way.
    pub(super) calls: BTreeMap<ToolCallId, OpenCall>,
}

/// What an agent has to answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) attachments: Vec<Attachment>,
}

/// Where that is.
#[derive(Debug)]
pub(super) enum Input {
    Here(Said),
    /// In the transcript, at this place: the run begins again.
    InTranscript(u64),
}

impl Default for Input {
    fn default() -> Self {
        Self::Here(Said::default())
    }
}

/// How much of the reply clients have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The first bytes.
    UpTo(usize),
    /// Something that is wrong by now.
    Wrong,
}

/// A call of a node that is under way.
#[derive(Clone, Debug)]
pub(super) struct OpenCall {
    /// The tool, as clients see it.
    pub(super) name: String,
    pub(super) node: String,
    pub(super) command: String,
    pub(super) params: RawJson,
    pub(super) stage: Stage,
}

/// What a call of a node waits for.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// It is about to be sent.
    New,
    /// The node works on it.
    Sent(InvokeId),
    /// The node says what exactly it would run, so that somebody can decide.
    Planning(InvokeId),
    /// Somebody has to decide whether the node may run this.
    Asking(ApprovalId, RawJson),
    /// Somebody said yes, and the node works on it.
    Approved(InvokeId),
}

impl ActiveRun {
    pub(super) fn new(
        key: SessionKey,
        agent_id: String,
        deadline: Instant,
        message: Input,
        repeats: u32,
    ) -> Self {
        Self {
            key,
            agent_id,
            deadline,
            text: String::new(),
            told: Told::UpTo(0),
            agent_seq: 0,
            chat_seq: 0,
            message,
            repeats,
            reading: None,
            jobs: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    pub(super) fn next_agent_seq(&mut self) -> u64 {
        self.agent_seq += 1;
        self.agent_seq
    }

    pub(super) fn next_chat_seq(&mut self) -> u64 {
        self.chat_seq += 1;
        self.chat_seq
    }
}
