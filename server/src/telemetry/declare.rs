//! How metrics are declared: one place gives the name, the kind, the labels and the help text of each.
//!
//! In: structs written inside [`shard_metrics!`] and [`process_metrics!`]. Out: what the registry holds, the handles
//! that are called, and the rows of the table that operators read.
//! *Invariant:* what a handle costs to call is an atomic; only [`ByReason`] looks something up.
//! Start reading at [`Declared`], then [`OfShard`].

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Index;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::histogram::{Histogram, Scale};

/// A number that goes both ways and need not be whole.
pub(super) type Reading = Gauge<f64, AtomicU64>;

/// One line of the table of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As it stands on the page; a histogram has `_bucket`, `_sum` and `_count` behind it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<&'static str>,
    pub help: &'static str,
}

impl Row {
    pub(super) fn new(field: &str, kind: MetricType, labels: &[&'static str], help: &'static str) -> Row {
        let (kind, suffix) = match kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Histogram => ("histogram", ""),
            _ => ("gauge", ""),
        };
        Row { name: format!("astro_{field}{suffix}"), kind, labels: labels.to_vec(), help }
    }
}

/// What can stand in [`process_metrics!`].
pub(super) trait Declared: TypedMetric {
    const LABELS: &'static [&'static str];
}

impl Declared for Counter {
    const LABELS: &'static [&'static str] = &[];
}

impl Declared for Counter<f64> {
    const LABELS: &'static [&'static str] = &[];
}

impl Declared for Gauge {
    const LABELS: &'static [&'static str] = &[];
}

impl Declared for Reading {
    const LABELS: &'static [&'static str] = &[];
}

impl<S: Scale> Declared for Histogram<S> {
    const LABELS: &'static [&'static str] = &[];
}

/// The names of a label set, in order.
pub(super) trait LabelNames {
    const NAMES: &'static [&'static str];
}

impl<L: LabelNames, M: TypedMetric> Declared for Family<L, M> {
    const LABELS: &'static [&'static str] = L::NAMES;
}

/// What can stand in [`shard_metrics!`]: how one shard gets its own from the family of all shards.
pub(super) trait OfShard {
    /// What the registry holds.
    type Family: EncodeMetric + Clone + Debug + Default + Send + Sync + 'static;
    const KIND: MetricType;
    const LABELS: &'static [&'static str];
    fn of_shard(family: &Self::Family, shard: usize) -> Self;
}

/// A metric of one value, which a family can make.
pub(super) trait Single: EncodeMetric + TypedMetric + Clone + Debug + Default + Send + Sync + 'static {}

impl Single for Counter {}
impl Single for Counter<f64> {}
impl Single for Gauge {}
impl Single for Reading {}
impl<S: Scale> Single for Histogram<S> {}

impl<M: Single> OfShard for M {
    type Family = Family<ShardLabel, M>;
    const KIND: MetricType = M::TYPE;
    const LABELS: &'static [&'static str] = &["shard"];

    fn of_shard(family: &Self::Family, shard: usize) -> M {
        family.get_or_create_owned(&ShardLabel { shard })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ShardLabel {
    pub shard: usize,
}

/// A label with a fixed list of values.
pub(super) trait Label: Copy + Debug + Send + Sync + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];
    fn value(self) -> &'static str;
    fn place(self) -> usize;
}

/// One metric for each value of a label. All of them are on the page from the beginning, as zeros.
#[derive(Clone, Debug)]
pub(super) struct Each<L, M> {
    metrics: Box<[M]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label, M: Single> OfShard for Each<L, M> {
    type Family = Family<(ShardLabel, Pair), M>;
    const KIND: MetricType = M::TYPE;
    const LABELS: &'static [&'static str] = &["shard", L::NAME];

    fn of_shard(family: &Self::Family, shard: usize) -> Self {
        let one = |label: &L| {
            let pair = Pair { name: L::NAME, value: label.value() };
            family.get_or_create_owned(&(ShardLabel { shard }, pair))
        };
        Each { metrics: L::ALL.iter().map(one).collect(), label: std::marker::PhantomData }
    }
}

impl<L: Label, M> Index<L> for Each<L, M> {
    type Output = M;

    fn index(&self, label: L) -> &M {
        &self.metrics[label.place()]
    }
}

/// Counters by a reason whose values are spread over the program, as words in it and never a peer's.
#[derive(Clone, Debug)]
pub(super) struct ByReason {
    family: Family<(ShardLabel, Pair), Counter>,
    shard: usize,
}

impl ByReason {
    /// Takes a lock and a hash lookup: once per tick and reason, not per datagram.
    pub fn add(&self, reason: &'static str, count: u64) {
        if count > 0 {
            let pair = Pair { name: "reason", value: reason };
            self.family.get_or_create(&(ShardLabel { shard: self.shard }, pair)).inc_by(count);
        }
    }
}

impl OfShard for ByReason {
    type Family = Family<(ShardLabel, Pair), Counter>;
    const KIND: MetricType = MetricType::Counter;
    const LABELS: &'static [&'static str] = &["shard", "reason"];

    fn of_shard(family: &Self::Family, shard: usize) -> Self {
        ByReason { family: family.clone(), shard }
    }
}

/// A label and its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub name: &'static str,
    pub value: &'static str,
}

impl EncodeLabelSet for Pair {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [(self.name, self.value)].encode(encoder)
    }
}

/// The help text of a doc comment; the registry adds the full stop itself.
pub(super) fn help(doc: &'static str) -> &'static str {
    doc.trim().trim_end_matches('.')
}

/// Declares the values of a label.
macro_rules! label {
    ($(#[$about:meta])* $name:ident is $label:literal: $($(#[$doc:meta])* $variant:ident = $value:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// As it stands on the page.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $value,)* }
            }
        }

        impl $crate::telemetry::declare::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$($name::$variant,)*];

            fn value(self) -> &'static str {
                self.name()
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

/// Declares metrics: `Families` is what the registry holds, `Handles` is one shard's own.
macro_rules! shard_metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty,)*) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct Families { $($field: <$kind as OfShard>::Family,)* }

        #[derive(Clone, Debug)]
        struct Handles { $($(#[doc = $help])+ $field: $kind,)* }

        impl Families {
            pub(super) fn register(registry: &mut Registry) -> Families {
                let families = Families::default();
                $(registry.register(stringify!($field), help(concat!($($help),+)), families.$field.clone());)*
                families
            }

            pub(super) fn rows() -> Vec<Row> {
                vec![$({
                    let (kind, labels) = (<$kind as OfShard>::KIND, <$kind as OfShard>::LABELS);
                    Row::new(stringify!($field), kind, labels, help(concat!($($help),+)))
                },)*]
            }

            fn shard(&self, shard: usize) -> Handles {
                Handles { $($field: OfShard::of_shard(&self.$field, shard),)* }
            }
        }
    };
}

/// Declares metrics of the whole process.
macro_rules! process_metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty,)*) => {
        #[derive(Clone, Debug, Default)]
        struct Process { $($(#[doc = $help])+ $field: $kind,)* }

        impl Process {
            fn register(registry: &mut Registry) -> Process {
                let process = Process::default();
                $(registry.register(stringify!($field), help(concat!($($help),+)), process.$field.clone());)*
                process
            }

            fn rows() -> Vec<Row> {
                vec![$({
                    let (kind, labels) = (<$kind as TypedMetric>::TYPE, <$kind as Declared>::LABELS);
                    Row::new(stringify!($field), kind, labels, help(concat!($($help),+)))
                },)*]
            }
        }
    };
}

pub(super) use {label, process_metrics, shard_metrics};
