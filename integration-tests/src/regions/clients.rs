//! How applications reach the regions.

use anyhow::{Context as _, Result};
use tao_client::{Client, Options};

use super::Regions;
use crate::faults::Place;
use crate::history::Recorder;
use crate::soak::Door;

impl Regions {
    /// A client of each region, which knows the delays.
    ///
    /// # Errors
    /// No follower of a region answers.
    pub async fn clients(&self) -> Result<Vec<Door>> {
        self.doors(None).await
    }

    /// As [`Regions::clients`], and everything that they do is recorded.
    ///
    /// # Errors
    /// No follower of a region answers.
    pub async fn recorded_clients(&self, recorder: &Recorder) -> Result<Vec<Door>> {
        self.doors(Some(recorder)).await
    }

    async fn doors(&self, recorder: Option<&Recorder>) -> Result<Vec<Door>> {
        let mut doors = Vec::new();
        for region in &self.topology.regions {
            let mut options = self.client_options(&region.name)?;
            options.recorder = recorder.map(|recorder| recorder.at(&region.name));
            let client =
                Client::connect(options).await.with_context(|| format!("connect to {}", region.name))?;
            doors.push(Door { region: region.name.clone(), client });
        }
        Ok(doors)
    }

    /// A client in a region.
    ///
    /// # Errors
    /// None of its followers answers.
    pub async fn client(&self, region: &str) -> Result<Client> {
        Client::connect(self.client_options(region)?).await.with_context(|| format!("connect to {region}"))
    }

    fn client_options(&self, region: &str) -> Result<Options> {
        let known = self.topology.regions.iter().find(|known| known.name == region);
        let nodes = known.with_context(|| format!("no region {region}"))?.followers.iter();
        let place = Place::client(region);
        // Seed nodes are dialed as given.
        let addresses =
            nodes.flat_map(|tier| &tier.nodes).map(|node| self.network.seen_address(&place, &node.address));
        Ok(Options {
            region: Some(region.to_owned()),
            translate: self.network.seen_from(&place).collect(),
            ..Options::new(addresses)
        })
    }
}
