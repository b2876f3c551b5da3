//! What the graph may be, given all answers so far: one graph, or several where requests overlapped.

use super::graph::{Graph, Reply, Sent, Wrong};
use super::rules::Rules;

/// One request with its answer.
pub(super) type Answered = (Sent, Reply);

/// Graphs kept at most. Overlapping requests are few, so that more than this can't come about; if they did, dropping some
/// could only accuse wrongly, so it is an error of the model.
const MOST_WORLDS: usize = 256;

/// The graphs that explain every answer so far; never none.
#[derive(Clone, Debug)]
pub(super) struct Worlds(Vec<Graph>);

impl Worlds {
    pub(super) fn new() -> Self {
        Self(vec![Graph::default()])
    }

    /// Any of the graphs: for choosing what to ask next, not for judging.
    pub(super) fn any(&self) -> &Graph {
        &self.0[0]
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// A request within a step: what was pending at its end stays so.
    pub(super) fn within(&mut self, rules: &Rules, sent: &Sent, reply: &Reply) -> Result<(), Wrong> {
        self.explain(rules, &[vec![(sent.clone(), reply.clone())]], false)
    }

    /// Requests of several callers at once, each caller's in order: some order of all must explain every answer.
    pub(super) fn together(&mut self, rules: &Rules, callers: &[Vec<Answered>]) -> Result<(), Wrong> {
        self.explain(rules, callers, true)
    }

    fn explain(&mut self, rules: &Rules, callers: &[Vec<Answered>], begin: bool) -> Result<(), Wrong> {
        let mut found = Vec::new();
        let mut wrong = None;
        for graph in &mut self.0 {
            if begin {
                graph.begin();
            }
            let mut next = vec![0; callers.len()];
            search(rules, graph, callers, &mut next, &mut found, &mut wrong);
        }
        if found.len() > MOST_WORLDS {
            return Err(Wrong(format!("the model has {} graphs in mind, too many", found.len())));
        }
        if found.is_empty() {
            return Err(wrong.unwrap_or_else(|| Wrong("nothing was asked".into())));
        }
        self.0 = found;
        Ok(())
    }
}

/// All orders, depth first; where an answer does not fit, nothing behind it is tried.
fn search(
    rules: &Rules,
    graph: &Graph,
    callers: &[Vec<Answered>],
    next: &mut Vec<usize>,
    found: &mut Vec<Graph>,
    wrong: &mut Option<Wrong>,
) {
    let mut ended = true;
    for caller in 0..callers.len() {
        let Some((sent, reply)) = callers[caller].get(next[caller]) else { continue };
        ended = false;
        let mut then = graph.clone();
        match then.step(rules, sent, reply) {
            Ok(()) => {
                next[caller] += 1;
                search(rules, &then, callers, next, found, wrong);
                next[caller] -= 1;
            }
            Err(error) => drop(wrong.get_or_insert(error)),
        }
    }
    if ended && !found.contains(graph) {
        found.push(graph.clone());
    }
}
