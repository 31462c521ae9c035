"""Step 1: train the target CNN and keep its weights: before training (epoch 0) and after every epoch."""

from __future__ import annotations

from experiment import CHECKPOINTS, checkpoint_path, options, positive, run, whole_dataset
from target_cnn import TargetCNN

from weightsmith import Layout, Weights, evaluate, write_checkpoint
from weightsmith.ensemble import Member, TrainingPlan, choose_device, choose_precision, train_networks
from weightsmith.files import require_writable_folder
from weightsmith.seeds import derive_seed


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--epochs", type=positive, default=5, help="epochs of training (default: 5)")
    parser.add_argument("--channels", type=positive, nargs=2, default=[32, 64], help="filters of both convolutions")
    parser.add_argument("--fc", type=positive, default=128, help="units of the hidden linear layer")
    wanted = parser.parse_args()

    device = choose_device(wanted.device)
    print(f"Using device: {device}")
    dataset = whole_dataset(wanted.dataset)
    seed = derive_seed(wanted.seed, "init")
    network = TargetCNN(dataset.input_shape, dataset.classes, wanted.channels, wanted.fc, seed=seed)
    print(f"Target CNN: flat dimension = {Layout.of(network).parameters}")

    require_writable_folder(CHECKPOINTS)
    for stale in sorted(CHECKPOINTS.glob("weights_epoch_*.pth")):  # epochs of two runs must not be taken for one
        print(f"Removing {stale} of an earlier run")
        stale.unlink()
    write_checkpoint(checkpoint_path(0), network.state_dict())
    plan = TrainingPlan(wanted.epochs, 128, "adam", choose_precision("auto", device))
    member = Member(derive_seed(wanted.seed, "training"), learning_rate=1e-3)
    weights = Weights.of(network)
    for capture in train_networks(network, weights, dataset.train, plan, [member], device=device):
        weights = capture.weights
        write_checkpoint(checkpoint_path(capture.epoch), weights.states()[0])
        print(f"Epoch {capture.epoch}/{wanted.epochs}: training loss = {float(capture.losses):.4f}")
    found = evaluate(network, weights, dataset.test, device=device)[0]
    print(f"Accuracy on the test images: {found.accuracy:.2%}")
    print(f"{wanted.epochs + 1} checkpoints saved to {CHECKPOINTS}/")


if __name__ == "__main__":
    run(main)
