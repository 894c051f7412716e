//! People write to a bot in many chats, half of them to have something done on a node, while gateway
//! and node are killed at any moment. By what the Bot API itself has seen, every message is answered
//! exactly once, or shown as uncertain; answers keep the order of their chat; and no command of the
//! node runs twice.
//!
//! `CLAWGATE_KILL_ROUNDS=200` makes it a run with 1,000 messages in 50 chats; `CLAWGATE_KILL_SEED`
//! repeats one.
#![allow(
    clippy::indexing_slicing,
    reason = "only JSON values are indexed, and they give null for a member they do not have"
)]
#![allow(clippy::print_stdout, reason = "a long run tells what it has done")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clawgate_bot_api::{BotApi, ChatId, MessageId, SentMessage, User};
use clawgate_core::rng::Rng;
use clawgate_tests::command_line::Machine;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::dice::{dice, seed};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

/// Rounds of a run that nobody waits for.
const ROUNDS: u64 = 6;

/// Messages of each round.
const MESSAGES: u64 = 5;

/// Chats.
const CHATS: u64 = 50;

/// A process is killed before so many milliseconds of a round have passed.
const LONGEST_ROUND: u64 = 500;

/// How long the last answers may take: some sessions have several calls of the node before them.
const LAST_ANSWERS: Duration = PATIENCE.saturating_mul(4);

/// A message of a person, by its chat and its number there.
type Question = (ChatId, MessageId);

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// These words back.
    Echo(String),
    /// A command of the node with this mark, by the agent's own `/invoke`.
    Invoke(String),
    /// The same by a rule of the agent.
    Rule(String),
}

/// How a message was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// As it was wished.
    Done,
    /// The node could not be asked, or what it did is not known, as the answer says.
    NodeFailed,
    /// The run was cut, as the answer says.
    Interrupted,
    /// There is no answer, and the gateway says that nobody knows.
    Uncertain,
}

impl Wish {
    fn any(dice: &mut Rng, mark: String) -> Self {
        match dice.u64() % 4 {
            0 | 1 => Self::Echo(mark),
            2 => Self::Invoke(mark),
            _ => Self::Rule(mark),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Echo(mark) => format!("/echo {mark}"),
            Self::Invoke(mark) => format!("/invoke box mark {{\"id\":\"{mark}\"}}"),
            Self::Rule(mark) => format!("mark {mark}"),
        }
    }

    fn end(&self, answer: &str) -> TestResult<End> {
        if answer.contains("interrupted") {
            return Ok(End::Interrupted);
        }
        let (done, failed) = match self {
            Self::Echo(mark) => (answer == mark, false),
            Self::Invoke(mark) => (
                answer.contains("given") && answer.contains(mark.as_str()),
                answer.starts_with("box did not do mark: ")
                    || answer.starts_with("There is no node \"box\"."),
            ),
            Self::Rule(mark) => (
                answer == format!("Marked {mark}."),
                answer.starts_with(&format!("Not marked {mark}: ")),
            ),
        };
        match (done, failed) {
            (true, _) => Ok(End::Done),
            (false, true) => Ok(End::NodeFailed),
            (false, false) => Err(Failure::new(format!("{self:?} was answered {answer:?}"))),
        }
    }
}

/// Everything that takes part.
struct World {
    api: BotApi,
    gateway: GatewayProcess,
    node: NodeProcess,
    people: Vec<User>,
    asked: BTreeMap<Question, Wish>,
    /// What was ever shown as uncertain, with its name at the gateway.
    uncertain: BTreeMap<Question, String>,
}

/// What was killed, and how often in the middle of something.
#[derive(Debug, Default)]
struct Kills {
    gateway: u64,
    node: u64,
}

impl World {
    fn new() -> TestResult<Self> {
        let api = BotApi::start()?;
        // A machine runs each bot once: other tests have others.
        let token = format!("{}:token-of-the-tests", 700_000 + std::process::id());
        api.add_bot(&token, "example_bot")?;
        let people = (1..=CHATS)
            .map(|number| api.user(number as i64, &format!("Person {number}")))
            .collect();
        let telegram = json!({
            "enabled": true, "botToken": token, "apiRoot": api.url(), "dmPolicy": "open",
            "allowFrom": ["*"], "replyToMode": "all",
        });
        let rules = json!([
            { "match": "mark {id}", "node": "box", "command": "mark", "params": { "id": "{id}" },
              "reply": "Marked {id}.", "error": "Not marked {id}: {error.message}" },
        ]);
        let agents = json!({ "defaults": { "backend": "builtin", "rules": rules } });
        let gateway = GatewayProcess::start_with(Settings {
            config: vec![
                ("agents".to_owned(), agents),
                ("channels".to_owned(), json!({ "telegram": telegram })),
            ],
            ..Settings::default()
        })?;
        let node = NodeProcess::approved(
            &gateway,
            NodeSetup {
                name: "box".to_owned(),
                commands: vec![(
                    "mark".to_owned(),
                    PathBuf::from(env!("CARGO_BIN_EXE_node_tool")),
                )],
                ..NodeSetup::default()
            },
        )?;
        Ok(Self {
            api,
            gateway,
            node,
            people,
            asked: BTreeMap::new(),
            uncertain: BTreeMap::new(),
        })
    }

    fn client(&self) -> TestResult<RawClient> {
        let scopes = ["operator.read", "operator.admin"];
        RawClient::operator(&self.gateway.url(), self.gateway.token(), &scopes)
    }

    /// Somebody writes.
    fn ask(&mut self, dice: &mut Rng) -> TestResult {
        let person = dice.u64() % CHATS;
        let person = self.people.get(person as usize);
        let person = person.ok_or_else(|| Failure::new("nobody is there"))?;
        let wish = Wish::any(dice, format!("m-{}", self.asked.len()));
        let id = self.api.says(person, &wish.text())?;
        self.asked.insert((person.id.into(), id), wish);
        Ok(())
    }

    /// Lets a random time pass, or a random number of answers.
    fn let_pass(&self, dice: &mut Rng) {
        let time = Duration::from_millis(dice.u64() % LONGEST_ROUND);
        let answers = 1 + dice.u64() % (2 * MESSAGES);
        let wanted = self.api.look(|state| state.sent_count()) + answers;
        let enough = |state: &clawgate_bot_api::State| (state.sent_count() >= wanted).then_some(());
        // Both are ends of a round.
        let _ = self.api.wait_for(time, enough);
    }

    fn round(&mut self, dice: &mut Rng, kills: &mut Kills) -> TestResult {
        let late = dice.u64() % (MESSAGES + 1);
        for _ in late..MESSAGES {
            self.ask(dice)?;
        }
        self.let_pass(dice);
        let (gateway, node) = match dice.u64() % 4 {
            0 => (true, true),
            1 => (false, true),
            _ => (true, false),
        };
        if gateway {
            self.gateway.kill()?;
            kills.gateway += 1;
        }
        if node {
            self.node.kill()?;
            kills.node += 1;
        }
        // Nobody but the Bot API hears these yet.
        for _ in 0..late {
            self.ask(dice)?;
        }
        if gateway {
            self.gateway.restart()?;
        }
        if node {
            self.node.start(&self.gateway)?;
        }
        let mut client = self.client()?;
        Deadline::after(PATIENCE).poll("the node", || {
            let nodes = client.call("node.list", json!({}))?.payload()?;
            let mut nodes = nodes["nodes"].as_array().into_iter().flatten();
            let here = nodes.any(|one| one["nodeId"] == self.node.id() && one["connected"] == true);
            Ok(here.then_some(()))
        })?;
        self.note_uncertain(&mut client)
    }

    /// Keeps what the gateway says nobody knows about.
    fn note_uncertain(&mut self, client: &mut RawClient) -> TestResult {
        let params = json!({ "state": "uncertain", "limit": 500 });
        let list = client.call("messages.list", params)?.payload()?;
        self.uncertain.extend(questions(&list)?);
        Ok(())
    }

    /// Waits until every message is answered or uncertain, and nothing is under way.
    fn settle(&mut self) -> TestResult {
        let mut client = self.client()?;
        let settled = Deadline::after(LAST_ANSWERS).poll("the last answers", || {
            self.note_uncertain(&mut client)?;
            let open = client.call("messages.list", json!({ "state": "open" }))?;
            let none_open = open.payload()?["total"] == 0;
            Ok((none_open && self.unanswered().is_empty()).then_some(()))
        });
        settled.map_err(|failure| {
            let unanswered = self.unanswered();
            let rows = client
                .call("messages.list", json!({ "limit": 50 }))
                .and_then(|answer| answer.payload())
                .unwrap_or_default();
            Failure::new(format!(
                "{failure}; without an answer: {unanswered:?}\n{rows}\n{}",
                self.gateway.log()
            ))
        })
    }

    /// All answers, by the message that they answer.
    fn answers(&self) -> TestResult<BTreeMap<Question, Vec<SentMessage>>> {
        let mut answers: BTreeMap<Question, Vec<SentMessage>> = BTreeMap::new();
        for sent in self.api.look(|state| state.sent_everywhere()) {
            let question = sent.reply_to.map(|id| (sent.chat, id));
            let question = question.filter(|question| self.asked.contains_key(question));
            let question =
                question.ok_or_else(|| Failure::new(format!("it answers nothing: {sent:?}")))?;
            answers.entry(question).or_default().push(sent);
        }
        Ok(answers)
    }

    fn unanswered(&self) -> Vec<(Question, Wish)> {
        let answered: BTreeSet<Question> = self.api.look(|state| {
            let sent = state.sent_everywhere().into_iter();
            sent.filter_map(|sent| Some((sent.chat, sent.reply_to?)))
                .collect()
        });
        let known = |question: &Question| {
            answered.contains(question) || self.uncertain.contains_key(question)
        };
        let asked = self.asked.iter();
        asked
            .filter(|(question, _)| !known(question))
            .map(|(question, wish)| (*question, wish.clone()))
            .collect()
    }

    /// What must hold in the end, and at any time before; gives how the messages ended.
    fn check(&self) -> TestResult<BTreeMap<End, usize>> {
        let mut ends = BTreeMap::new();
        let answers = self.answers()?;
        for (question, wish) in &self.asked {
            let given = answers.get(question).map_or(&[][..], Vec::as_slice);
            let end = match given {
                [] if self.uncertain.contains_key(question) => End::Uncertain,
                [] => return Err(Failure::new(format!("{question:?}: no answer to {wish:?}"))),
                [answer] => wish.end(&answer.text)?,
                more => {
                    return Err(Failure::new(format!(
                        "{question:?}: {wish:?} was answered more than once: {more:?}"
                    )));
                }
            };
            *ends.entry(end).or_default() += 1;
        }
        for person in &self.people {
            let sent = self.api.sent(person);
            let order: Vec<_> = sent.iter().filter_map(|sent| sent.reply_to).collect();
            if !order.is_sorted() {
                return Err(Failure::new(format!(
                    "answers to {person:?} came in the order {order:?}"
                )));
            }
        }
        Ok(ends)
    }

    /// What the node did: nothing twice, and everything that an answer says.
    fn check_node(&self) -> TestResult<usize> {
        let ran = self.node.ran()?;
        let mut marks = BTreeSet::new();
        for params in &ran {
            let mark = params["id"].as_str().unwrap_or_default();
            if !marks.insert(mark.to_owned()) {
                return Err(Failure::new(format!("the node did this twice: {mark}")));
            }
        }
        for (question, given) in self.answers()? {
            let wish = self.asked.get(&question);
            if let (Some(wish @ (Wish::Invoke(mark) | Wish::Rule(mark))), [answer]) =
                (wish, given.as_slice())
                && wish.end(&answer.text)? == End::Done
                && !marks.contains(mark)
            {
                return Err(Failure::new(format!("the node never did {mark}")));
            }
        }
        Ok(ran.len())
    }
}

/// The messages that came in, in a list of the gateway, with its own names for them.
fn questions(list: &Value) -> TestResult<Vec<(Question, String)>> {
    let rows = list["messages"].as_array().into_iter().flatten();
    let rows = rows.filter(|row| row["direction"] == "in");
    rows.map(|row| {
        let number =
            |name: &str| -> TestResult<i64> { Ok(row[name].as_str().unwrap_or_default().parse()?) };
        let question = (ChatId(number("chat")?), MessageId(number("remoteId")?));
        let name = row["id"].as_str().unwrap_or_default();
        Ok((question, name.to_owned()))
    })
    .collect()
}

fn run(rounds: u64, seed: u64) -> TestResult {
    let mut dice = dice(seed);
    let mut world = World::new()?;
    let mut kills = Kills::default();
    let begin = Instant::now();
    for round in 0..rounds {
        let fault = |failure: Failure| Failure::new(format!("round {round}: {failure}"));
        world.round(&mut dice, &mut kills).map_err(fault)?;
        world.check_node().map_err(fault)?;
    }
    world.settle()?;
    let ends = world.check()?;
    let ran = world.check_node()?;
    // A person at the command line sees the same.
    let words = ["messages", "list", "--state", "uncertain", "--limit", "500"];
    let shown = Machine::of(&world.gateway).json(&words)?;
    for (question, name) in questions(&shown)? {
        if world.uncertain.get(&question) != Some(&name) {
            return Err(Failure::new(format!("{name} is {question:?} now")));
        }
    }
    let cut_off = world.api.look(|state| {
        let sends = state.calls_of("sendMessage");
        sends
            .filter(|call| call.taken && call.status.is_none())
            .count()
    });
    println!(
        "{rounds} rounds in {:.0?}: {kills:?}; {} messages in {} chats ended so: {ends:?}; {} shown \
         as uncertain, {cut_off} answers of the service cut off; {ran} commands run on the node, \
         none twice",
        begin.elapsed(),
        world.asked.len(),
        world.people.len(),
        world.uncertain.len(),
    );
    Ok(())
}

#[test]
fn messages_outlive_the_end_of_gateway_and_node_at_any_moment() -> TestResult {
    let rounds = match std::env::var("CLAWGATE_KILL_ROUNDS") {
        Ok(rounds) => rounds.parse()?,
        Err(_) => ROUNDS,
    };
    let seed = seed()?;
    println!("seed {seed}");
    run(rounds, seed).map_err(|failure| Failure::new(format!("seed {seed}: {failure}")))
}
