"""Features of Stable Diffusion's UNet."""
