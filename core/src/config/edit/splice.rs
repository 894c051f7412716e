//! The least that has to change in a text so that it says something else.

use std::ops::Range;

use serde_json::{Map, Value};

use super::EditError;
use super::style::{Style, line_indent, own_indent};
use super::tree::{self, Child, Node, NodeKind};
use crate::config::key_path::KeyPath;
use crate::config::scan::{Position, is_line_end};

/// A text with its changes, not yet carried out.
pub(super) struct Splices<'t> {
    text: &'t str,
    style: Style,
    layout: Layout,
    comments: Vec<Range<usize>>,
    splices: Vec<(Range<usize>, String)>,
    dropped: Vec<Range<usize>>,
}

/// How the text as a whole is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Everything in one line.
    OneLine,
    Lines,
}

/// What came out.
pub(super) struct Spliced {
    pub(super) text: String,
    /// Comments that stood inside of a value that is no more.
    pub(super) comments_dropped: usize,
}

/// A new child.
type Added<'v> = (Option<&'v str>, &'v Value);

/// A change of one container.
struct Plan<'v> {
    /// Which of its children go.
    gone: Vec<bool>,
    /// What is put behind the last one; elements of a list have no key.
    added: Vec<Added<'v>>,
}

/// Changes a text that says `before` into one that says `after`. `None` where that cannot be done
/// without damage.
pub(super) fn splice(
    text: &str,
    before: &Value,
    after: &Value,
) -> Result<Option<Spliced>, EditError> {
    let Some(root) = tree::read(text) else {
        return Ok(None);
    };
    let mut splices = Splices {
        text,
        style: Style::of(text, &root),
        layout: match &root.kind {
            NodeKind::Object(children) if !children.is_empty() && is_in_one_line(text, &root) => {
                Layout::OneLine
            }
            NodeKind::Object(_) | NodeKind::List(_) | NodeKind::Scalar => Layout::Lines,
        },
        comments: tree::comments(text),
        splices: Vec::new(),
        dropped: Vec::new(),
    };
    splices.value(&root, before, after, &KeyPath::root())?;
    Ok(splices.carry_out())
}

impl Splices<'_> {
    fn value(
        &mut self,
        node: &Node,
        before: &Value,
        after: &Value,
        path: &KeyPath,
    ) -> Result<(), EditError> {
        if before == after {
            return Ok(());
        }
        match (&node.kind, before, after) {
            (NodeKind::Object(children), Value::Object(before), Value::Object(after)) => {
                self.object(node, children, (before, after), path)
            }
            (NodeKind::List(children), Value::Array(before), Value::Array(after))
                if children.len() == before.len() =>
            {
                self.list(node, children, (before, after), path)
            }
            _ => {
                self.replace(node, after);
                Ok(())
            }
        }
    }

    fn replace(&mut self, node: &Node, value: &Value) {
        let written = match self.layout {
            Layout::OneLine => self.style.inline(value),
            Layout::Lines => self
                .style
                .value(value, line_indent(self.text, node.span.start)),
        };
        self.dropped.push(node.span.clone());
        self.splices.push((node.span.clone(), written));
    }

    fn object(
        &mut self,
        node: &Node,
        children: &[Child],
        (before, after): (&Map<String, Value>, &Map<String, Value>),
        path: &KeyPath,
    ) -> Result<(), EditError> {
        let mut gone = vec![false; children.len()];
        for (place, child) in children.iter().enumerate() {
            let here = path.key(&child.key);
            let (old, new) = (before.get(&child.key), after.get(&child.key));
            if old == new {
                continue;
            }
            if let Some(again) = children
                .iter()
                .skip(place + 1)
                .find(|it| it.key == child.key)
            {
                return Err(EditError::WrittenTwice {
                    path: here,
                    position: Position::of_offset(self.text, again.start),
                });
            }
            match (old, new) {
                (Some(old), Some(new)) => self.value(&child.value, old, new, &here)?,
                _ => {
                    if let Some(gone) = gone.get_mut(place) {
                        *gone = true;
                    }
                }
            }
        }
        let added = after
            .iter()
            .filter(|(key, _)| !before.contains_key(*key))
            .map(|(key, value)| (Some(key.as_str()), value))
            .collect();
        self.container(node, children, Plan { gone, added });
        Ok(())
    }

    fn list(
        &mut self,
        node: &Node,
        children: &[Child],
        (before, after): (&[Value], &[Value]),
        path: &KeyPath,
    ) -> Result<(), EditError> {
        let same = |pair: &(&Value, &Value)| pair.0 == pair.1;
        let head = before.iter().zip(after).take_while(same).count();
        let room = before.len().min(after.len()) - head;
        let tail = before.iter().rev().zip(after.iter().rev());
        let tail = tail.take_while(same).take(room).count();
        // What comes or goes does so behind the last element that is changed in its place.
        let tail = if after.len() > before.len() { 0 } else { tail };
        let changed = before.len().min(after.len()) - tail;
        let mut gone = vec![false; children.len()];
        for (place, child) in children.iter().enumerate() {
            let Some(old) = before.get(place) else { break };
            if place < changed {
                if let Some(new) = after.get(place) {
                    self.value(&child.value, old, new, &path.index(place))?;
                }
            } else if place < before.len() - tail
                && let Some(gone) = gone.get_mut(place)
            {
                *gone = true;
            }
        }
        let added = after.iter().skip(before.len());
        let added = added.map(|value| (None, value)).collect();
        self.container(node, children, Plan { gone, added });
        Ok(())
    }

    /// Takes children away and puts others behind the last one, commas in order.
    fn container(&mut self, node: &Node, children: &[Child], plan: Plan<'_>) {
        let kept = children.iter().zip(&plan.gone).rfind(|(_, gone)| !**gone);
        let mut removed_to = 0;
        for (child, _) in children.iter().zip(&plan.gone).filter(|(_, gone)| **gone) {
            removed_to = self.remove(child);
        }
        let last = children.last();
        let had_comma = last.is_some_and(|child| child.comma.is_some());
        if let Some((kept, _)) = kept {
            let end = kept.value.span.end;
            match kept.comma {
                Some(comma) if plan.added.is_empty() && !had_comma => {
                    self.splices.push((comma..comma + 1, String::new()));
                }
                None if !plan.added.is_empty() => self.splices.push((end..end, ",".to_owned())),
                Some(_) | None => {}
            }
        }
        if !plan.added.is_empty() {
            match last {
                Some(last) => self.append(node, last, removed_to, &plan.added),
                None => self.fill(node, &plan.added),
            }
        }
    }

    /// Takes a child away, and tells up to where.
    fn remove(&mut self, child: &Child) -> usize {
        let text = self.text;
        let (start, end) = (child.start, child.value.span.end);
        self.dropped.push(start..end);
        let next_to = child.comma.filter(|comma| {
            let between = text.get(end..*comma).unwrap_or_default();
            between
                .chars()
                .all(|c| c.is_whitespace() && !is_line_end(c))
        });
        let stop = match (next_to, child.comma) {
            (Some(comma), _) => comma + 1,
            (None, Some(comma)) => {
                self.splices.push((comma..comma + 1, String::new()));
                end
            }
            (None, None) => end,
        };
        let rest = text.get(stop..).unwrap_or_default();
        let blanks = rest
            .find(|c: char| !c.is_whitespace() || is_line_end(c))
            .unwrap_or(rest.len());
        let line_ends = rest
            .get(blanks..)
            .is_none_or(|rest| rest.starts_with(is_line_end));
        let start = match own_indent(text, start) {
            // It has lines for itself: they go as a whole, with the end of the line above.
            Some(indent) if line_ends => {
                let line = start - indent.len();
                let above = text.get(..line).unwrap_or_default();
                above
                    .strip_suffix("\r\n")
                    .or_else(|| above.strip_suffix(['\n', '\r']))
                    .map_or(line, str::len)
            }
            Some(_) | None => start,
        };
        self.splices.push((start..stop + blanks, String::new()));
        stop + blanks
    }

    /// Puts children behind the last one, and behind what is taken away up to a place.
    fn append(&mut self, node: &Node, last: &Child, removed_to: usize, added: &[Added<'_>]) {
        let text = self.text;
        let comma = last.comma.is_some();
        let behind = last.comma.map_or(last.value.span.end, |comma| comma + 1);
        let place = self.end_of_remarks(behind).max(removed_to);
        let written = if is_in_one_line(text, node) {
            let comma = if comma { "," } else { "" };
            format!(" {}{comma}", self.line(added))
        } else {
            let indent = match &node.kind {
                NodeKind::Object(children) | NodeKind::List(children) => children
                    .iter()
                    .find_map(|child| own_indent(text, child.start)),
                NodeKind::Scalar => None,
            };
            let deeper = || self.deeper(line_indent(text, node.span.start));
            let indent = indent.map_or_else(deeper, str::to_owned);
            self.lines(added, &indent, comma)
        };
        self.splices.push((place..place, written));
    }

    /// Puts the first children into a container.
    fn fill(&mut self, node: &Node, added: &[Added<'_>]) {
        let text = self.text;
        let outer = line_indent(text, node.span.start);
        let indent = self.deeper(outer);
        let inside = node.span.start + 1..node.span.end.saturating_sub(1);
        let remark = self
            .comments
            .iter()
            .rfind(|comment| inside.contains(&comment.start));
        let end = self.style.line_end;
        match remark {
            Some(remark) => {
                let place = remark.end;
                let mut written = self.lines(added, &indent, self.style.trailing_comma());
                let behind = text.get(place..inside.end).unwrap_or_default();
                if !behind.contains(is_line_end) {
                    written.push_str(end);
                    written.push_str(outer);
                }
                self.splices.push((place..place, written));
            }
            None if self.layout == Layout::OneLine => {
                let line = self.line(added);
                let line = match node.kind {
                    NodeKind::Object(_) => format!(" {line} "),
                    NodeKind::List(_) | NodeKind::Scalar => line,
                };
                self.splices.push((inside, line));
            }
            None => {
                let lines = self.lines(added, &indent, self.style.trailing_comma());
                self.splices.push((inside, format!("{lines}{end}{outer}")));
            }
        }
    }

    fn line(&self, added: &[Added<'_>]) -> String {
        let members: Vec<String> = added
            .iter()
            .map(|(key, value)| self.member(*key, &self.style.inline(value)))
            .collect();
        members.join(", ")
    }

    fn lines(&self, added: &[Added<'_>], indent: &str, comma: bool) -> String {
        let end = self.style.line_end;
        let members: Vec<String> = added
            .iter()
            .map(|(key, value)| {
                let value = self.style.value(value, indent);
                format!("{end}{indent}{}", self.member(*key, &value))
            })
            .collect();
        let comma = if comma { "," } else { "" };
        format!("{}{comma}", members.join(","))
    }

    fn member(&self, key: Option<&str>, value: &str) -> String {
        match key {
            Some(key) => format!("{}: {value}", self.style.key(key)),
            None => value.to_owned(),
        }
    }

    fn deeper(&self, indent: &str) -> String {
        format!("{indent}{}", self.style.unit)
    }

    /// The end of the remarks that follow in the same line.
    fn end_of_remarks(&self, from: usize) -> usize {
        let mut end = from;
        let following = self.comments.iter().filter(|comment| comment.start >= from);
        for comment in following {
            let gap = self.text.get(end..comment.start).unwrap_or_default();
            let remark = self.text.get(comment.clone()).unwrap_or_default();
            let near = gap.chars().all(|c| c.is_whitespace() && !is_line_end(c));
            if !near || remark.contains(is_line_end) {
                break;
            }
            end = comment.end;
        }
        end
    }

    fn carry_out(mut self) -> Option<Spliced> {
        // What is put at a place comes before what is taken away from there on.
        self.splices
            .sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for (range, written) in &self.splices {
            text.push_str(self.text.get(from..range.start)?);
            text.push_str(written);
            from = range.end;
        }
        text.push_str(self.text.get(from..)?);
        let is_dropped = |comment: &&Range<usize>| {
            let within = |span: &Range<usize>| span.contains(&comment.start);
            self.dropped.iter().any(within)
        };
        let remaining = self.comments.iter().filter(|comment| !is_dropped(comment));
        let remaining: Vec<&str> = remaining
            .map(|comment| self.text.get(comment.clone()).unwrap_or_default())
            .collect();
        let now: Vec<&str> = tree::comments(&text)
            .into_iter()
            .map(|comment| text.get(comment).unwrap_or_default())
            .collect();
        let kept = remaining == now;
        let comments_dropped = self.comments.len() - remaining.len();
        kept.then_some(Spliced {
            text,
            comments_dropped,
        })
    }
}

fn is_in_one_line(text: &str, node: &Node) -> bool {
    !text
        .get(node.span.clone())
        .unwrap_or_default()
        .contains(is_line_end)
}
