//! The text form of metrics: OpenMetrics 1.0.0, or the older text of Prometheus for who asks for that
//! alone.

use std::fmt::{Display, Write as _};

use super::histogram::{BOUNDS, Histogram};

/// Which text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Prometheus,
}

impl Form {
    /// What a request with this `Accept` is answered with. OpenMetrics, unless it wants plain text and
    /// does not know the other.
    ///
    /// ```
    /// use clawgate_core::metrics::Form;
    ///
    /// assert_eq!(Form::accepted(None), Form::OpenMetrics);
    /// assert_eq!(Form::accepted(Some("text/plain;version=0.0.4")), Form::Prometheus);
    /// ```
    pub fn accepted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default().to_ascii_lowercase();
        if accept.contains("text/plain") && !accept.contains("openmetrics-text") {
            Self::Prometheus
        } else {
            Self::OpenMetrics
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What a family of samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Times, by size.
    Histogram,
    /// Text, always 1.
    Info,
    /// One of several states, which is 1; the others are 0.
    StateSet,
}

/// The text, as it is written.
///
/// ```
/// use clawgate_core::metrics::{Exposition, Form, Kind};
///
/// let mut text = Exposition::new(Form::OpenMetrics);
/// text.family("calls", Kind::Counter, None, "Calls.");
/// text.sample(&[("method", "health")], 3);
/// assert_eq!(
///     text.finish(),
///     "# TYPE calls counter\n# HELP calls Calls.\ncalls_total{method=\"health\"} 3\n# EOF\n"
/// );
/// ```
#[derive(Debug)]
pub struct Exposition {
    form: Form,
    text: String,
    name: &'static str,
    kind: Kind,
}

impl Exposition {
    /// An empty text.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            text: String::with_capacity(16 * 1024),
            name: "",
            kind: Kind::Gauge,
        }
    }

    /// Begins a family. `name` is without the endings that the kind brings; it ends with the unit, if
    /// there is one. Each name comes once, and all its samples follow it.
    pub fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        unit: Option<&'static str>,
        help: &str,
    ) {
        (self.name, self.kind) = (name, kind);
        let (ending, shown) = match (self.form, kind) {
            (Form::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Form::OpenMetrics, Kind::Info) => ("", "info"),
            (Form::OpenMetrics, Kind::StateSet) => ("", "stateset"),
            (Form::Prometheus, Kind::Counter) => ("_total", "counter"),
            (Form::Prometheus, Kind::Info) => ("_info", "gauge"),
            (_, Kind::Gauge) | (Form::Prometheus, Kind::StateSet) => ("", "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        self.line(format_args!("# TYPE {name}{ending} {shown}"));
        if let (Form::OpenMetrics, Some(unit)) = (self.form, unit) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        let help = escaped(help);
        self.line(format_args!("# HELP {name}{ending} {help}"));
    }

    /// A sample of a counter, a gauge or an info.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram | Kind::StateSet => "",
        };
        self.write(ending, labels, value);
    }

    /// The samples of one set of states. `states` are all of them, and `current` the one that holds.
    pub fn states(&mut self, labels: &[(&str, &str)], states: &[&str], current: &str) {
        for state in states {
            let mut labels = labels.to_vec();
            labels.push((self.name, state));
            self.write("", &labels, u8::from(*state == current));
        }
    }

    /// The samples of one histogram, in seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], times: &Histogram) {
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut sum = 0;
        for (bound, count) in bounds.zip(times.counts()) {
            sum += count;
            let mut labels = labels.to_vec();
            labels.push(("le", bound));
            self.write("_bucket", &labels, sum);
        }
        self.write("_count", labels, sum);
        self.write("_sum", labels, times.sum().as_secs_f64());
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn write(&mut self, ending: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(ending);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            // A string takes everything.
            let _ = write!(self.text, "{before}{name}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }
}

/// A text with nothing in it that ends a label or a line.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => shown.push_str("\\\\"),
            '"' => shown.push_str("\\\""),
            '\n' => shown.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(form: Form) -> String {
        let mut text = Exposition::new(form);
        text.family("a_build", Kind::Info, None, "Which \"one\".");
        text.sample(&[("version", "1\n\"\\\u{7}")], 1);
        text.family("a_done", Kind::Counter, None, "Done.");
        text.sample(&[], 2);
        text.family("a_state", Kind::StateSet, None, "How.");
        text.states(&[("of", "x")], &["up", "down"], "down");
        text.finish()
    }

    #[test]
    fn openmetrics_and_prometheus_differ_where_they_must() {
        assert_eq!(
            written(Form::OpenMetrics),
            "# TYPE a_build info\n# HELP a_build Which \\\"one\\\".\n\
             a_build_info{version=\"1\\n\\\"\\\\\"} 1\n\
             # TYPE a_done counter\n# HELP a_done Done.\na_done_total 2\n\
             # TYPE a_state stateset\n# HELP a_state How.\n\
             a_state{of=\"x\",a_state=\"up\"} 0\na_state{of=\"x\",a_state=\"down\"} 1\n# EOF\n"
        );
        let old = written(Form::Prometheus);
        for line in [
            "# TYPE a_build_info gauge",
            "# TYPE a_done_total counter",
            "# HELP a_done_total Done.",
            "# TYPE a_state gauge",
        ] {
            assert!(old.lines().any(|found| found == line), "{line}\n{old}");
        }
        assert!(!old.contains("EOF"));
    }

    #[test]
    fn buckets_grow() {
        let mut times = Histogram::default();
        for millis in [1, 2, 90_000] {
            times.observe(Duration::from_millis(millis));
        }
        let mut text = Exposition::new(Form::OpenMetrics);
        text.family("a_seconds", Kind::Histogram, Some("seconds"), "Times.");
        text.histogram(&[], &times);
        let text = text.finish();
        for line in [
            "# UNIT a_seconds seconds",
            "a_seconds_bucket{le=\"0.0005\"} 0",
            "a_seconds_bucket{le=\"0.001\"} 1",
            "a_seconds_bucket{le=\"60.0\"} 2",
            "a_seconds_bucket{le=\"+Inf\"} 3",
            "a_seconds_count 3",
            "a_seconds_sum 90.003",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn who_asks_for_plain_text_alone_gets_it() {
        for (accept, form) in [
            (None, Form::OpenMetrics),
            (Some("*/*"), Form::OpenMetrics),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"),
                Form::OpenMetrics,
            ),
            (Some("Text/Plain"), Form::Prometheus),
        ] {
            assert_eq!(Form::accepted(accept), form, "{accept:?}");
        }
    }
}
