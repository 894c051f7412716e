//! A strict reader of OpenMetrics 1.0 text: whatever is not exactly as the standard has it is an error.
//! So a test that reads numbers checks the text, too.

use std::collections::{BTreeMap, BTreeSet};

/// Names and values, in the order of the names.
type Labels = Vec<(String, String)>;

/// What was read: the value of each sample, by its name and its labels in the order of their names.
#[derive(Debug, Default)]
pub struct Numbers {
    samples: BTreeMap<(String, Labels), f64>,
    /// The type of each family.
    pub families: BTreeMap<String, String>,
}

impl Numbers {
    /// The value of a sample; 0 where there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        labels.sort();
        let found = self.samples.get(&(name.to_owned(), labels));
        found.copied().unwrap_or_default()
    }

    /// All values of a label.
    pub fn values_of(&self, label: &str) -> BTreeSet<&str> {
        let labels = self.samples.keys().flat_map(|(_, labels)| labels);
        labels
            .filter(|(name, _)| name == label)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// Reads a text.
///
/// # Errors
/// What is wrong, and in which line.
pub fn read(text: &str) -> Result<Numbers, String> {
    let Some(body) = text.strip_suffix("# EOF\n") else {
        return Err("the text does not end with # EOF".into());
    };
    let mut reader = Reader::default();
    for (number, line) in body.split_terminator('\n').enumerate() {
        reader
            .line(line)
            .map_err(|problem| format!("line {}: {problem}: {line}", number + 1))?;
    }
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    reader.end_family()?;
    Ok(reader.numbers)
}

#[derive(Default)]
struct Reader {
    numbers: Numbers,
    family: String,
    kind: String,
    /// Which of TYPE, UNIT and HELP have come for the family.
    told: BTreeSet<String>,
    has_samples: bool,
    /// Buckets of the histogram that is being read: its labels, the last bound and its count.
    buckets: BTreeMap<Labels, Vec<(f64, f64)>>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Err("an empty line".into());
        }
        match line.strip_prefix("# ") {
            Some(told) => self.metadata(told),
            None if line.starts_with('#') => Err("a comment".into()),
            None => self.sample(line),
        }
    }

    fn metadata(&mut self, told: &str) -> Result<(), String> {
        let mut words = told.splitn(3, ' ');
        let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next())
        else {
            return Err("too few words".into());
        };
        if !is_name(name) {
            return Err("no name of a metric".into());
        }
        if name != self.family {
            self.end_family()?;
            if self.numbers.families.contains_key(name) {
                return Err("the family comes twice".into());
            }
            self.family = name.into();
            self.kind = "unknown".into();
        }
        if self.has_samples || !self.told.insert(what.into()) {
            return Err("told after a sample, or twice".into());
        }
        match what {
            "TYPE" => {
                let kinds = ["counter", "gauge", "histogram", "info", "stateset"];
                if !kinds.contains(&text) {
                    return Err("an unknown type".into());
                }
                self.kind = text.into();
                self.numbers.families.insert(name.into(), text.into());
                Ok(())
            }
            "UNIT" if name.ends_with(&format!("_{text}")) => Ok(()),
            "UNIT" => Err("the name does not end with the unit".into()),
            "HELP" => unescaped(text).map(|_| ()),
            _ => Err("unknown metadata".into()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let end = line.find(['{', ' ']).ok_or("a sample without a value")?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = value.strip_prefix(' ').ok_or("no blank before the value")?;
        if value.contains(' ') {
            return Err("more than a value".into());
        }
        let value: f64 = value.parse().map_err(|_| "no number")?;
        let ending = name
            .strip_prefix(self.family.as_str())
            .filter(|_| !self.family.is_empty())
            .ok_or("a sample outside of its family")?;
        let fits = match self.kind.as_str() {
            "counter" => ending == "_total" && value >= 0.0 && value.is_finite(),
            "gauge" => ending.is_empty(),
            "histogram" => matches!(ending, "_bucket" | "_count" | "_sum") && value >= 0.0,
            "info" => ending == "_info" && value == 1.0,
            "stateset" => {
                let names_itself = labels.iter().any(|(label, _)| *label == self.family);
                ending.is_empty() && names_itself && (value == 0.0 || value == 1.0)
            }
            _ => false,
        };
        if !fits {
            return Err(format!("not a sample of a {}", self.kind));
        }
        self.has_samples = true;
        if self.kind == "histogram" {
            self.bucket(ending, &labels, value)?;
        }
        let mut labels = labels;
        labels.sort();
        let before = labels.len();
        labels.dedup_by(|a, b| a.0 == b.0);
        if labels.len() != before {
            return Err("a label twice".into());
        }
        if self
            .numbers
            .samples
            .insert((name.into(), labels), value)
            .is_some()
        {
            return Err("the sample comes twice".into());
        }
        Ok(())
    }

    fn bucket(
        &mut self,
        ending: &str,
        labels: &[(String, String)],
        value: f64,
    ) -> Result<(), String> {
        let others: Vec<_> = labels
            .iter()
            .filter(|(name, _)| name != "le")
            .cloned()
            .collect();
        let bound = labels.iter().find(|(name, _)| name == "le");
        match (ending, bound) {
            ("_bucket", Some((_, bound))) => {
                let is_canonical = bound == "+Inf" || bound.contains('.');
                let bound: f64 = bound.parse().map_err(|_| "no bound")?;
                let buckets = self.buckets.entry(others).or_default();
                if !is_canonical
                    || buckets
                        .last()
                        .is_some_and(|(last, count)| *last >= bound || *count > value)
                {
                    return Err("buckets out of order".into());
                }
                buckets.push((bound, value));
                Ok(())
            }
            ("_count", None) => {
                let last = self.buckets.get(&others).and_then(|buckets| buckets.last());
                if last != Some(&(f64::INFINITY, value)) {
                    return Err("the count is not that of the last bucket".into());
                }
                Ok(())
            }
            ("_sum", None) => Ok(()),
            _ => Err("a bucket without a bound, or a bound elsewhere".into()),
        }
    }

    fn end_family(&mut self) -> Result<(), String> {
        if !self.family.is_empty() && !self.told.contains("TYPE") {
            return Err(format!("{} has no type", self.family));
        }
        for labels in std::mem::take(&mut self.buckets).into_keys() {
            for ending in ["_count", "_sum"] {
                let mut labels = labels.clone();
                labels.sort();
                let name = format!("{}{ending}", self.family);
                if !self.numbers.samples.contains_key(&(name, labels)) {
                    return Err(format!("{} has no {ending}", self.family));
                }
            }
        }
        self.told.clear();
        self.has_samples = false;
        Ok(())
    }
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut found = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("no value of a label")?;
        if !is_name(name) || name.contains(':') {
            return Err("no name of a label".into());
        }
        let mut escaped = false;
        let end = after.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        let (value, after) = after.split_at(end.ok_or("a label that does not end")?);
        found.push((name.to_owned(), unescaped(value)?));
        let after = after.get(1..).unwrap_or_default();
        match (after.strip_prefix(','), after.strip_prefix('}')) {
            (Some(more), _) => rest = more,
            (None, Some(after)) => return Ok((found, after)),
            (None, None) => return Err("no comma and no brace after a label".into()),
        }
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut shown = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => shown.push('\n'),
                Some(letter @ ('\\' | '"')) => shown.push(letter),
                _ => return Err("an unknown escape".into()),
            },
            '"' => return Err("a quote that is not escaped".into()),
            letter => shown.push(letter),
        }
    }
    Ok(shown)
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    let is_first = |letter: char| letter.is_ascii_alphabetic() || matches!(letter, '_' | ':');
    letters.next().is_some_and(is_first)
        && letters.all(|letter| is_first(letter) || letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_standard_is_read() {
        let text = "# TYPE acme_http_router_request_seconds histogram\n\
            # UNIT acme_http_router_request_seconds seconds\n\
            # HELP acme_http_router_request_seconds Latency though all of ACME's HTTP request router.\n\
            acme_http_router_request_seconds_bucket{path=\"/api/v1\",le=\"0.5\"} 3\n\
            acme_http_router_request_seconds_bucket{path=\"/api/v1\",le=\"+Inf\"} 4\n\
            acme_http_router_request_seconds_count{path=\"/api/v1\"} 4\n\
            acme_http_router_request_seconds_sum{path=\"/api/v1\"} 9036.32\n\
            # TYPE go_goroutines gauge\n# HELP go_goroutines Number of \\\"goroutines\\\".\n\
            go_goroutines 69\n# EOF\n";
        let numbers = read(text).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(numbers.get("go_goroutines", &[]), 69.0);
        let labels = [("le", "0.5"), ("path", "/api/v1")];
        let name = "acme_http_router_request_seconds_bucket";
        assert_eq!(numbers.get(name, &labels), 3.0);
    }

    #[test]
    fn what_is_a_little_wrong_is_not_read() {
        for text in [
            "",
            "# TYPE a counter\na_total 1\n",
            "# TYPE a counter\na 1\n# EOF\n",
            "# TYPE a counter\na_total -1\n# EOF\n",
            "# TYPE a counter\na_total 1\na_total 2\n# EOF\n",
            "# TYPE a counter\n\na_total 1\n# EOF\n",
            "# TYPE a counter\na_total  1\n# EOF\n",
            "# TYPE a counter\na_total{x=\"1\",x=\"2\"} 1\n# EOF\n",
            "# TYPE a counter\na_total{x=\"\"\"} 1\n# EOF\n",
            "# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n",
            "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n",
            "# TYPE a gauge\nb 1\n# EOF\n",
            "# TYPE a histogram\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
            "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\na_sum 1\n# EOF\n",
            "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n# EOF\n",
            "# TYPE a stateset\na{b=\"up\"} 1\n# EOF\n",
            "a 1\n# EOF\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
