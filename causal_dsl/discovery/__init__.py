"""What each component and each edge adds to a metric, from gradients: attribution patching, EAP, EAP-IG, integrated gradients."""
