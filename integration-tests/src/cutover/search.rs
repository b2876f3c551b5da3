//! Breadth first through every state, so that what is found is found by a shortest way. Then backward from the states in
//! which all is settled: a state that is not met has no way out.

use std::fmt;

use super::state::{Key, State, Violation};
use super::steps::{Model, Step};

/// What a search has found.
#[derive(Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Longest of the shortest ways to a state.
    pub depth: usize,
    /// States in which the last move is over and one owner is named.
    pub settled: usize,
    /// What must not be, and a shortest way to it.
    pub violation: Option<(Violation, Trace)>,
}

/// A way from the beginning.
pub struct Trace(Vec<(Step, State)>);

impl Trace {
    /// Number of steps.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the beginning itself is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (step, state)) in self.0.iter().enumerate() {
            let step = step.to_string();
            writeln!(f, "{:3}. {step:<66} | {state}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// States that were met, each with the one that it was met from.
struct Met {
    keys: Vec<Key>,
    parents: Vec<u32>,
    /// Numbers of states by hash, open addressing; `u32::MAX`: free.
    slots: Vec<u32>,
}

impl Met {
    fn new() -> Self {
        Self { keys: Vec::new(), parents: Vec::new(), slots: vec![u32::MAX; 1 << 16] }
    }

    /// The number of a state, and whether it is new.
    fn insert(&mut self, key: &Key, parent: u32) -> (u32, bool) {
        if self.keys.len() * 2 > self.slots.len() {
            self.grow();
        }
        let slot = self.slot(key);
        if self.slots[slot] != u32::MAX {
            return (self.slots[slot], false);
        }
        let number = self.keys.len() as u32;
        self.slots[slot] = number;
        self.keys.push(*key);
        self.parents.push(parent);
        (number, true)
    }

    fn slot(&self, key: &Key) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(key) as usize & mask;
        while self.slots[slot] != u32::MAX && self.keys[self.slots[slot] as usize] != *key {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.slots = vec![u32::MAX; self.slots.len() * 4];
        for number in 0..self.keys.len() {
            let slot = self.slot(&self.keys[number]);
            self.slots[slot] = number as u32;
        }
    }
}

fn hash(key: &Key) -> u64 {
    let mixed = key.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, word| {
        (hash ^ word).wrapping_mul(0xa076_1d64_78bd_642f).rotate_left(29)
    });
    mixed ^ mixed >> 32
}

impl Model {
    /// Searches all of it, or until something is wrong. `most`: states, for memory's sake.
    ///
    /// # Panics
    /// There are more states than `most`: the bounds of the model are too wide.
    pub fn search(&self, most: usize) -> Found {
        let mut met = Met::new();
        let (mut states, mut out) = (vec![self.start()], Vec::new());
        met.insert(&states[0].key(), u32::MAX);
        let mut found = Found { states: 1, steps: 0, depth: 0, settled: 0, violation: None };
        // Where each state's steps lead to; a fault leads nowhere, for nobody may wait for one.
        let (mut leads, mut ends) = (Vec::new(), Vec::new());
        let mut level_end = 1;
        let mut number = 0;
        while number < met.keys.len() {
            if number == level_end {
                level_end = met.keys.len();
                found.depth += 1;
            }
            let state = states[number];
            self.next(&state, &mut out);
            found.steps += out.len();
            for (step, next) in &out {
                let (to, new) = met.insert(&next.key(), number as u32);
                if let Some(violation) = next.violation() {
                    let trace = self.trace(&met, number as u32, Some(*next));
                    found.violation = Some((violation, trace));
                    found.states = met.keys.len();
                    return found;
                }
                if new {
                    states.push(*next);
                }
                if !step.is_fault() {
                    leads.push(to);
                }
            }
            ends.push(leads.len());
            assert!(met.keys.len() <= most, "more than {most} states");
            number += 1;
        }
        found.states = met.keys.len();
        let settled: Vec<bool> = states.iter().map(State::settled).collect();
        found.settled = settled.iter().filter(|settled| **settled).count();
        if let Some(stuck) = first_stuck(&leads, &ends, settled) {
            found.violation = Some((Violation::Doubt, self.trace(&met, stuck, None)));
        }
        found
    }

    /// The steps to a state, found again from the beginning, and one more.
    fn trace(&self, met: &Met, number: u32, last: Option<State>) -> Trace {
        let mut way = vec![number];
        while let Some(parent) = way.last().map(|last| met.parents[*last as usize]).filter(|p| *p != u32::MAX)
        {
            way.push(parent);
        }
        way.pop();
        let wanted =
            way.iter().rev().map(|number| met.keys[*number as usize]).chain(last.map(|last| last.key()));
        let (mut state, mut out, mut steps) = (self.start(), Vec::new(), Vec::new());
        for key in wanted {
            self.next(&state, &mut out);
            steps.extend(out.iter().find(|(_, next)| next.key() == key));
            state = steps.last().map_or(state, |(_, state)| *state);
        }
        Trace(steps)
    }
}

/// The first state from which no settled one can be reached.
fn first_stuck(leads: &[u32], ends: &[usize], settled: Vec<bool>) -> Option<u32> {
    let count = settled.len();
    // The steps turned round: those that lead to a state, one state after the other.
    let mut starts = vec![0_u32; count + 1];
    for to in leads {
        starts[*to as usize + 1] += 1;
    }
    for state in 0..count {
        starts[state + 1] += starts[state];
    }
    let (mut back, mut at) = (vec![0_u32; leads.len()], starts.clone());
    let mut lead = 0;
    for (from, end) in ends.iter().enumerate() {
        while lead < *end {
            let place = &mut at[leads[lead] as usize];
            back[*place as usize] = from as u32;
            *place += 1;
            lead += 1;
        }
    }
    let mut open: Vec<usize> = (0..count).filter(|state| settled[*state]).collect();
    let mut good = settled;
    while let Some(state) = open.pop() {
        for from in &back[starts[state] as usize..starts[state + 1] as usize] {
            if !std::mem::replace(&mut good[*from as usize], true) {
                open.push(*from as usize);
            }
        }
    }
    good.iter().position(|good| !good).map(|state| state as u32)
}
