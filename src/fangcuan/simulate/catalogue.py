"""What the brand makes: products in four lines, and the EPC codes printed on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPANY_PREFIX = "6901234"
CARTONS_PER_PALLET = 16


@dataclass(frozen=True)
class Product:
    """`weight` is its share of carton demand, `propensity` multiplies the chance that a consumer scans a unit."""

    sku: str
    item: int
    name: str
    line: str
    units_per_case: int
    list_price: float
    margin: float
    vat: float
    weight: float
    propensity: float
    random_serials: bool = False

    @property
    def gtin(self) -> str:
        body = f"0{COMPANY_PREFIX}{self.item:05d}"
        digits = [int(digit) for digit in body]
        check = -sum(digit * (3 if at % 2 == 0 else 1) for at, digit in enumerate(digits)) % 10
        return f"{body}{check}"


PRODUCTS: tuple[Product, ...] = (
    Product("BJ-500-52", 10, "方川大曲 52度 500ml", "baijiu", 6, 598.0, 150.0, 0.13, 1.3, 1.1),
    Product("MP-800-1", 20, "方川奶粉 1段 800g", "milk_powder", 6, 338.0, 72.0, 0.13, 1.2, 1.3),
    Product("MO-4L-5W30", 30, "方川机油 5W-30 4L", "motor_oil", 6, 388.0, 90.0, 0.13, 1.1, 0.8),
    Product("BJ-500-42", 11, "方川小曲 42度 500ml", "baijiu", 6, 228.0, 48.0, 0.13, 1.3, 1.0, random_serials=True),
    Product("MP-800-3", 21, "方川奶粉 3段 800g", "milk_powder", 6, 268.0, 55.0, 0.13, 1.2, 1.2),
    Product("MO-1L-5W40", 31, "方川机油 5W-40 1L", "motor_oil", 12, 98.0, 20.0, 0.13, 0.9, 0.7, random_serials=True),
    Product("BJ-100-52", 12, "方川小酒 52度 100ml", "baijiu", 12, 45.0, 9.0, 0.13, 0.7, 0.9),
    Product("DR-310-24", 40, "方川凉茶 310ml", "herbal_drink", 24, 5.5, 1.1, 0.13, 0.35, 0.6),
)


def unit_epcs(sku: np.ndarray, number: np.ndarray, products: tuple[Product, ...]) -> np.ndarray:
    """SGTIN URIs of units: `sku` is the product's position, `number` counts the units of that product from 0."""
    texts = np.empty(len(sku), dtype=object)
    for at, product in enumerate(products):
        chosen = np.flatnonzero(sku == at)
        serials = serial_numbers(product, number[chosen])
        head = f"urn:epc:id:sgtin:{COMPANY_PREFIX}.0{product.item:05d}."
        texts[chosen] = [head + str(serial) for serial in serials.tolist()]
    return texts


def serial_numbers(product: Product, number: np.ndarray) -> np.ndarray:
    """Printed serials: consecutive, or spread over ten digits by a fixed permutation (the factor is coprime to 9e9)."""
    if product.random_serials:
        return 1_000_000_000 + (number.astype(np.int64) * 387_420_491 + 12_345_677) % 9_000_000_000
    return 1_000_000_000 + number.astype(np.int64)


def carton_epc(number: int) -> str:
    """SSCC URI of a carton by its position in the order of production."""
    return f"urn:epc:id:sscc:{COMPANY_PREFIX}.1{number:09d}"


def pallet_epc(number: int) -> str:
    return f"urn:epc:id:sscc:{COMPANY_PREFIX}.2{number:09d}"


def carton_epcs(number: np.ndarray) -> np.ndarray:
    return np.array([carton_epc(at) for at in number.tolist()], dtype=object)


def pallet_epcs(number: np.ndarray) -> np.ndarray:
    return np.array([pallet_epc(at) for at in number.tolist()], dtype=object)
