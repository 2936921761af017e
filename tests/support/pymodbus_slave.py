"""A slave by pymodbus: usage: pymodbus_slave.py PORT. Numbers of every kind in both orders of words, written by its own builder."""
import sys

from pymodbus.constants import Endian
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.payload import BinaryPayloadBuilder
from pymodbus.server import StartTcpServer

registers = []
for words in (Endian.BIG, Endian.LITTLE):
    builder = BinaryPayloadBuilder(byteorder=Endian.BIG, wordorder=words)
    builder.add_16bit_uint(65000)
    builder.add_16bit_int(-12345)
    builder.add_32bit_uint(4000000000)
    builder.add_32bit_int(-2000000000)
    builder.add_64bit_uint(2**60 + 1)
    builder.add_64bit_int(-2**60 - 1)
    builder.add_32bit_float(-0.15625)
    builder.add_64bit_float(3.141592653589793)
    registers += builder.to_registers()
slave = ModbusSlaveContext(hr=ModbusSequentialDataBlock(0, registers), zero_mode=True)
StartTcpServer(context=ModbusServerContext(slaves={1: slave}, single=False), address=("127.0.0.1", int(sys.argv[1])))
