"""How it is deployed and watched: metrics, rules, dashboards, images, manifests."""
