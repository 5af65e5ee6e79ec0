//! A server's metrics page, read back: for whoever shows or reports what a server did.
//!
//! In: OpenMetrics text. Out: samples by name and label, and quantiles of histograms.
//! *Invariant:* a metric that is not on the page is `None`, never a zero that looks like a good figure.
//! Start reading at [`Page`].

use std::collections::{BTreeSet, HashMap};

/// One reading: every sample by name, each with its labels.
#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: HashMap<String, Vec<(Labels, f64)>>,
}

type Labels = Vec<(String, String)>;

impl Page {
    /// Reads a page; lines that are no samples are skipped.
    pub fn parse(text: &str) -> Page {
        let mut page = Page::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = parse_sample(line) {
                page.samples.entry(name.to_owned()).or_default().push((labels, value));
            }
        }
        page
    }

    /// The sum of a metric's samples that have all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.samples.get(name)?.iter();
        let fitting = samples.filter(|(known, _)| labels.iter().all(|(label, value)| has(known, label, value)));
        Some(fitting.map(|(_, value)| value).sum())
    }

    /// The values that a label has on a metric's samples, in order.
    pub fn values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let samples = self.samples.get(name).into_iter().flatten();
        samples.filter_map(|(labels, _)| label_of(labels, label)).collect()
    }

    /// A histogram with these labels: upper bounds, and counts at or below each, ascending.
    pub fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Option<Buckets> {
        let mut buckets = Buckets::default();
        for (known, count) in self.samples.get(&format!("{name}_bucket"))? {
            let bound = label_of(known, "le").and_then(parse_number)?;
            if labels.iter().all(|(label, value)| has(known, label, value)) {
                buckets.add(bound, *count);
            }
        }
        buckets.0.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(buckets)
    }
}

/// Cumulative counts of a histogram by upper bound, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(pub Vec<(f64, f64)>);

impl Buckets {
    fn add(&mut self, bound: f64, count: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((bound, count)),
        }
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Buckets) -> Buckets {
        let before = |bound: f64| earlier.0.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
        Buckets(self.0.iter().map(|(bound, count)| (*bound, count - before(*bound))).collect())
    }

    /// How many values there are.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// Linear inside the bucket that the quantile falls into; `None` without values.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = self.count() * quantile;
        let (mut bound_below, mut count_below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= rank && *count > count_below {
                let share = (rank - count_below) / (count - count_below);
                let within = bound_below + (bound - bound_below) * share;
                return Some(if bound.is_finite() { within } else { bound_below });
            }
            (bound_below, count_below) = (*bound, *count);
        }
        None
    }
}

fn has(labels: &Labels, label: &str, value: &str) -> bool {
    label_of(labels, label) == Some(value)
}

fn label_of<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
}

/// `name{label="value",…} number`, a timestamp behind it ignored.
fn parse_sample(line: &str) -> Option<(&str, Labels, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            labels.push((label.to_owned(), after[..end].to_owned()));
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    Some((name, labels, parse_number(rest.split_whitespace().next()?)?))
}

/// The first quote that no backslash stands before.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = (c == '"' && !escaped).then_some(at);
        escaped = c == '\\' && !escaped;
        found
    })
}

fn parse_number(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a A.\n# TYPE a counter\na_total{shard=\"0\",text=\"x \\\"y\\\", {z}\"} 5 1700000000\n\
        a_total{shard=\"1\"} 2.5\nb 7\nnonsense\nc{open=\"\nt_bucket{shard=\"0\",le=\"0.001\"} 10\n\
        t_bucket{shard=\"0\",le=\"0.002\"} 30\nt_bucket{shard=\"0\",le=\"+Inf\"} 40\n\
        t_bucket{shard=\"1\",le=\"0.001\"} 1\nt_bucket{shard=\"1\",le=\"+Inf\"} 1\n# EOF\n";

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = Page::parse(PAGE);
        assert_eq!((page.sum("a_total", &[]), page.sum("a_total", &[("shard", "1")])), (Some(7.5), Some(2.5)));
        assert_eq!((page.sum("b", &[]), page.sum("missing", &[])), (Some(7.0), None));
        assert_eq!(page.sum("a_total", &[("shard", "9")]), Some(0.0));
        assert_eq!(page.values("a_total", "shard").into_iter().collect::<Vec<_>>(), ["0", "1"]);
    }

    #[test]
    fn quantiles_are_linear_in_their_bucket_and_of_what_was_counted_since() {
        let page = Page::parse(PAGE);
        let times = page.buckets("t", &[("shard", "0")]).unwrap();
        assert_eq!((times.quantile(0.5), times.quantile(0.99)), (Some(0.0015), Some(0.002)));
        assert_eq!(page.buckets("t", &[]).unwrap().count(), 41.0);
        assert_eq!(page.buckets("u", &[]), None);
        let earlier = Buckets(vec![(0.001, 10.0), (0.002, 10.0), (f64::INFINITY, 20.0)]);
        let since = times.since(&earlier);
        assert_eq!((since.count(), since.quantile(0.5)), (20.0, Some(0.0015)));
        assert_eq!(times.since(&times).quantile(0.5), None);
    }
}
