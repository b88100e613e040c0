"""The telematics gateway: takes releases from the cloud and updates the vehicle's ECUs."""
