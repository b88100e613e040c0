"""Where `fleet.v1` messages become the fleet's values and back; nothing else knows both."""
