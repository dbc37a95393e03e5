package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.header.EndTransactionRequestHeader;

/**
 * Half messages. Each body says what happens: {@code <local outcome>, <what becomes of the confirmation>, <answer to the check-back>}.
 * A confirmation is lost by a request hook that throws in the client's last step before the socket.
 */
final class Transactions implements Scenario {
    private static final String COMMITTED = "commit, sent, -";
    private static final String ROLLED_BACK = "rollback, sent, -";
    private static final String LOST_COMMIT = "commit, lost, commit";
    private static final String LOST_ROLLBACK = "rollback, lost, rollback";
    private static final String UNKNOWN_COMMIT = "unknown, sent, commit";
    private static final String UNKNOWN_ROLLBACK = "unknown, sent, rollback";
    private static final List<String> ALL = List.of(COMMITTED, ROLLED_BACK, LOST_COMMIT, LOST_ROLLBACK, UNKNOWN_COMMIT, UNKNOWN_ROLLBACK);

    private final Map<String, List<String>> checks = new ConcurrentHashMap<>();
    private final Set<String> halves = ConcurrentHashMap.newKeySet();
    private final Set<String> confirmationsToLose = ConcurrentHashMap.newKeySet();

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("transaction");
        TransactionMQProducer producer = new TransactionMQProducer(stage.name("transaction-producer"), new Losing());
        producer.setTransactionListener(new Local());
        stage.started(producer);
        Received received = new Received();
        stage.consuming("transaction-group", topic, "*", received);

        stage.check("a transactional send stores a half message and tells the local outcome", () -> {
            for (String body : ALL) {
                TransactionSendResult result = producer.sendMessageInTransaction(new Message(topic, "tag", body, Received.bytes(body)), null);
                require(result.getSendStatus() == SendStatus.SEND_OK, body + ": " + result.getSendStatus());
                require(result.getTransactionId() != null, body + ": no transaction id");
            }
            return ALL.size() + " half messages";
        });

        stage.check("a committed one is delivered", () -> {
            await("the committed message", () -> received.count(COMMITTED) == 1, () -> received.bodies().toString());
            return "1 delivery";
        });

        stage.check("a lost confirmation is asked for by a check-back, and the message delivered", () -> {
            await("the check-back", () -> checks.containsKey(LOST_COMMIT), () -> checks.toString());
            await("the message", () -> received.count(LOST_COMMIT) == 1, () -> received.bodies().toString());
            return "checks " + checks.get(LOST_COMMIT);
        });

        stage.check("an unknown outcome is settled by the answer to the check-back", () -> {
            await("the message", () -> received.count(UNKNOWN_COMMIT) == 1, () -> received.bodies().toString());
            await("the other check-backs", () -> checks.containsKey(UNKNOWN_ROLLBACK) && checks.containsKey(LOST_ROLLBACK), () -> checks.toString());
            return "checks " + checks.get(UNKNOWN_COMMIT);
        });

        stage.check("what was rolled back is never delivered, nothing comes twice, and the settled are not asked about", () -> {
            // A later transaction that is delivered shows that the earlier decisions have taken effect.
            String last = COMMITTED + " last";
            producer.sendMessageInTransaction(new Message(topic, "tag", last, Received.bytes(last)), null);
            await("the last message", () -> received.count(last) == 1, () -> received.bodies().toString());
            Set<String> expected = Set.of(COMMITTED, LOST_COMMIT, UNKNOWN_COMMIT, last);
            require(received.bodies().equals(expected) && received.all.size() == expected.size(), "delivered " + received.bodies());
            require(!checks.containsKey(COMMITTED) && !checks.containsKey(ROLLED_BACK), "asked about a settled one: " + checks);
            for (MessageExt message : received.all) {
                require(halves.contains(message.getMsgId()), "the id changed: " + message.getMsgId());
                require(message.getPreparedTransactionOffset() > 0, "no half message is named");
            }
            return received.all.size() + " deliveries of " + (ALL.size() + 1) + " half messages";
        });
    }

    /** Does the local transaction and answers check-backs as the body says; notes both. */
    private final class Local implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            String[] plan = new String(message.getBody()).split(", ");
            halves.add(message.getTransactionId());
            if (plan[1].equals("lost")) confirmationsToLose.add(message.getTransactionId());
            return outcome(plan[0]);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String body = Received.text(message);
            checks.computeIfAbsent(body, key -> new CopyOnWriteArrayList<>()).add(String.valueOf(message.getProperty("TRANSACTION_CHECK_TIMES")));
            return outcome(body.split(", ")[2]);
        }

        private static LocalTransactionState outcome(String word) {
            return switch (word) {
                case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
                case "rollback" -> LocalTransactionState.ROLLBACK_MESSAGE;
                default -> LocalTransactionState.UNKNOW;
            };
        }
    }

    /** Loses the second confirmations of some transactions; the answers to check-backs pass. */
    private final class Losing implements RPCHook {
        @Override
        public void doBeforeRequest(String address, RemotingCommand request) {
            if (request.getCode() != RequestCode.END_TRANSACTION) return;
            EndTransactionRequestHeader header = (EndTransactionRequestHeader) request.readCustomHeader();
            if (!header.getFromTransactionCheck() && confirmationsToLose.contains(header.getTransactionId()))
                throw new IllegalStateException("the confirmation is lost");
        }

        @Override
        public void doAfterResponse(String address, RemotingCommand request, RemotingCommand response) {}
    }
}
