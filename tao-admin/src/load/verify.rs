//! Reads back what a file says, through the followers: every list's count and edges against the file's own.

use std::collections::BTreeMap;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tao_client::Client;
use tao_schema::ids::{ObjectId, ObjectType};

use crate::progress::Progress;

/// Lists read at once.
const AT_ONCE: usize = 128;
/// Edges of one call.
const PAGE: u32 = 1_000;

/// What was read back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Lists read, from both ends if the type has an inverse.
    pub lists: u64,
    /// Edges in them.
    pub edges: u64,
    /// Lists whose count or edges are not the file's.
    pub different: u64,
    /// The first of them.
    pub first_difference: Option<String>,
}

/// The distinct edges of one type from each node, as the file has them.
pub struct Expected {
    /// The association type.
    pub assoc: String,
    /// Ends by start.
    pub lists: BTreeMap<u32, Vec<u32>>,
}

impl Expected {
    /// The lists of `edges`, each from its first to its second node.
    pub fn new(assoc: &str, edges: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut lists: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (from, to) in edges {
            lists.entry(from).or_default().push(to);
        }
        Self { assoc: assoc.to_owned(), lists }
    }

    /// Reads every list and compares. Other edges of the same lists, of another file, count as differences.
    ///
    /// # Errors
    /// A read fails.
    pub async fn compare(
        self,
        client: &Client,
        otype: ObjectType,
        shards: u32,
        into: &mut Verified,
    ) -> Result<()> {
        let id = move |number| ObjectId::named(otype, number, shards);
        let progress = Progress::bar("reading back", self.lists.len() as u64, "lists");
        let assoc = &self.assoc;
        let mut reads = stream::iter(self.lists)
            .map(|(from, ends)| async move {
                let mut wanted: Vec<ObjectId> = ends.into_iter().map(id).collect();
                wanted.sort_unstable();
                let count = client.assoc_count(id(from), assoc).send().await?.count;
                let mut found = Vec::with_capacity(wanted.len());
                loop {
                    let page = client
                        .assoc_range(id(from), assoc)
                        .pos(found.len() as u32)
                        .limit(PAGE)
                        .send()
                        .await?;
                    found.extend(page.ids());
                    if page.len() < PAGE as usize {
                        break;
                    }
                }
                found.sort_unstable();
                let right = count == wanted.len() as u64 && found == wanted;
                let difference = (!right).then(|| {
                    format!(
                        "{assoc} of node {from}: the file has {}, the count is {count}, {} were read",
                        wanted.len(),
                        found.len()
                    )
                });
                anyhow::Ok((found.len() as u64, difference))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(read) = reads.next().await {
            let (edges, difference) = read?;
            into.lists += 1;
            into.edges += edges;
            if difference.is_some() {
                into.different += 1;
                into.first_difference = into.first_difference.take().or(difference);
            }
            progress.advance(1);
        }
        progress.finish();
        Ok(())
    }
}
