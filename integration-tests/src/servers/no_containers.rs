//! In place of containers, in a build without them.

use std::convert::Infallible;

use anyhow::{Result, bail};

use super::{Image, ServersOptions};

/// There are none.
pub(super) struct Containers(Infallible);

impl Containers {
    pub(super) async fn start(image: &Image, _options: ServersOptions) -> Result<Self> {
        bail!(
            "docker:{}:{} needs a build with containers: add `--features integration-tests/containers` (`cargo xtask soak` \
             does), and a running Docker engine (DOCKER_HOST)",
            image.name,
            image.tag
        )
    }

    pub(super) fn dsn(&self, _index: usize) -> Option<String> {
        match self.0 {}
    }

    pub(super) fn is_running(&self, _index: usize) -> bool {
        match self.0 {}
    }

    pub(super) async fn kill(&self, _index: usize) -> Result<()> {
        match self.0 {}
    }

    pub(super) async fn restart(&self, _index: usize) -> Result<()> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Servers, Source};
    use super::*;

    #[tokio::test]
    async fn who_asks_for_containers_is_told_how_to_have_them() {
        let source = Source::parse("docker:mariadb:10.11").unwrap();
        let options = ServersOptions::new(1, 1);
        let error = Servers::start(&source, options).await.err().unwrap().to_string();
        assert!(error.contains("integration-tests/containers") && error.contains("DOCKER_HOST"), "{error}");
    }
}
