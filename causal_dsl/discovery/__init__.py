"""The contribution of each component and each edge to a metric, from gradients: attribution patching, EAP, EAP-IG, integrated gradients."""
